#!/usr/bin/env bash
# build.sh [lint|argo|kube|kfp|all]: builds into $HEADRACE_CLUSTER_HOME/bin what is not there yet or is of another version.
# The sources are modules of Go's module proxy, checked against its checksum database; each is built with its own go.mod.
# lint and kfpcompile need neither root nor a cluster.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
ARGO=3.7.4 KUBE=34.4
KFP=v0.0.0-20231208180049-c5658f09ec38 # the commit of tag 2.0.5, which Go modules cannot name
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath ${GOFLAGS:-}"

command -v go >/dev/null || unable "needs Go 1.24.10 or newer to build it"
newest=$(printf '%s\n' "go1.24.10" "$(go env GOVERSION)" | sort -V | tail -n 1)
[ "$newest" = "$(go env GOVERSION)" ] || unable "needs Go 1.24.10 or newer to build it, this is $(go env GOVERSION)"
mkdir -p "$H/bin" "$H/src"
exec 9>"$H/build.lock"
flock 9 # one at a time

module() { (cd / && go mod download -json "$1" 2>/dev/null) | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])'; }
# source_of MODULE@VERSION DIR: a writable copy of the module's source
source_of() {
  [ "$(cat "$2/.version" 2>/dev/null)" = "$1" ] && return
  local d
  d=$(module "$1")
  rm -rf "$2" "$2.tmp"
  cp -r "$d" "$2.tmp"
  chmod -R u+w "$2.tmp"
  echo "$1" >"$2.tmp/.version"
  mv "$2.tmp" "$2"
}
# build NAME DIR PACKAGE VERSION [LDFLAGS]: a program of ours (with a folder NAME here) is put into the source first
build() {
  local t=$SECONDS key="$4"
  if [ -d "$HERE/$1" ]; then
    mkdir -p "$2/$3"
    cp "$HERE/$1/main.go" "$2/$3/"
    key="$4 $(cksum <"$HERE/$1/main.go")"
  fi
  [ -x "$H/bin/$1" ] && [ "$(cat "$H/bin/.$1" 2>/dev/null)" = "$key" ] && return
  (cd "$2" && go build -ldflags "-s -w ${5:-}" -o "$H/bin/.$1.tmp" "$3")
  mv "$H/bin/.$1.tmp" "$H/bin/$1"
  echo "$key" >"$H/bin/.$1"
  say "built $1 in $((SECONDS - t)) s"
}

argo_source() {
  source_of "github.com/argoproj/argo-workflows/v3@v$ARGO" "$H/src/argo"
  # a symbolic link upstream, and the zip of a Go module has none
  cp "$H/src/argo/workflow/executor/osspecific/signal_"{darwin,linux}.go
}
lint() {
  argo_source
  build argolint "$H/src/argo" ./cmd/argolint $ARGO
}
argo() {
  argo_source
  for c in workflow-controller argoexec; do
    build $c "$H/src/argo" ./cmd/$c $ARGO "-X github.com/argoproj/argo-workflows/v3.version=v$ARGO"
  done
}
kube() {
  local s=$H/src/kube ld="" p d
  mkdir -p "$s"
  if [ "$(cat "$s/.version" 2>/dev/null)" != $KUBE ]; then
    # its go.mod, with the staging directories (which its zip lacks) replaced by the published modules
    d=$(module "k8s.io/kubernetes@v1.$KUBE")
    sed -e 's#^module .*#module cluster#' -e "s#=> ./staging/src/\(.*\)#=> \1 v0.$KUBE#" "$d/go.mod" >"$s/go.mod"
    printf '\nrequire k8s.io/kubernetes v1.%s\n' $KUBE >>"$s/go.mod"
    cp "$d/go.sum" "$s/" && chmod u+w "$s/go.sum"
    echo $KUBE >"$s/.version"
  fi
  for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    ld="$ld -X $p.gitVersion=v1.$KUBE -X $p.gitMajor=1 -X $p.gitMinor=${KUBE%.*}"
  done
  GOFLAGS="$GOFLAGS -mod=mod" build hyper "$s" ./hyper $KUBE "$ld"
  for p in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do
    ln -sf hyper "$H/bin/$p"
  done
}
kfpcompile() {
  source_of "github.com/kubeflow/pipelines@$KFP" "$H/src/kfp"
  GOFLAGS="$GOFLAGS -mod=mod" build kfpcompile "$H/src/kfp" ./backend/src/kfpcompile $KFP
}
kfp() {
  local s=$H/src/kfp b=./backend/src
  kfpcompile
  export GOFLAGS="$GOFLAGS -mod=mod"
  build kfp-driver "$s" $b/v2/cmd/driver $KFP
  build kfp-launcher "$s" $b/v2/cmd/launcher-v2 $KFP
  build kfp-persistence "$s" $b/agent/persistence $KFP
  build kfp-scheduler "$s" $b/crd/controller/scheduledworkflow $KFP
  # needs the C code of go-sqlite3: gcc, and a static binary, for an image that holds nothing else
  CGO_ENABLED=1 GOFLAGS="$GOFLAGS -tags=netgo,osusergo,sqlite_omit_load_extension" \
    build kfp-apiserver "$s" $b/apiserver $KFP "-extldflags -static"
}

case ${1:-all} in
  lint | argo | kube | kfp | kfpcompile) "$1" ;;
  all) lint; argo; kube; kfp ;;
  *) die "usage: build.sh [lint|argo|kube|kfpcompile|kfp|all]" ;;
esac
