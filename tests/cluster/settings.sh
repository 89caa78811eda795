# shellcheck shell=bash
# settings.sh: names, ports and functions of the other scripts; sourced, not run.
# shellcheck disable=SC2034  # some are used only by the scripts that source this
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
H=$(realpath -m "${HEADRACE_CLUSTER_HOME:-$HOME/.cache/headrace-cluster}") # everything these scripts make
R=$H/run                                                                   # the running cluster; down.sh removes it
L=$H/log                                                                   # of the last run
PORT=${HEADRACE_CLUSTER_PORT:-16443} # Kubernetes' API; S3 is PORT+1, Kubeflow Pipelines PORT+2
IP=172.30.0.2                        # the node, in its network namespace
# Clusters of two folders can run side by side: namespace, cgroup and ports follow from the folder's name
ID=$(($(printf %s "$H" | cksum | cut -d' ' -f1) % 900))
NS=headrace$ID # network namespace, and cgroup of the pods
IMG=headrace.local # image name prefix
S3_KEY=headrace S3_SECRET=headrace-secret
export KUBECONFIG=$R/kubeconfig PATH=$PATH:/usr/sbin:/sbin

say() { printf '%4ds %s\n' "$SECONDS" "$*"; }
die() { echo "error: $*" >&2; exit 1; }
# What the machine does not allow is no fault of the tests: one line and status 77, which make and pytest take as "skipped"
unable() { echo "skipped: no cluster on this machine: $*" >&2; exit 77; }

# The parts of the cgroup tree in which the pods' group is made: one (version 2) or one for each controller (version 1)
cgroups() { for c in /sys/fs/cgroup /sys/fs/cgroup/*; do [ ! -f "$c/cgroup.procs" ] || echo "$c"; done; }
check_machine() {
  local c probe
  [ "$(uname -sm)" = "Linux x86_64" ] || unable "made for Linux on amd64, this is $(uname -sm)"
  [ "$(id -u)" = 0 ] || unable "needs root"
  command -v apt-get dpkg >/dev/null || unable "needs Debian's packages (apt-get)"
  unshare --net --mount true 2>/dev/null || unable "namespaces are forbidden (unshare --net --mount)"
  [ -n "$(cgroups)" ] || unable "no cgroups in /sys/fs/cgroup"
  for c in $(cgroups); do
    mkdir -p "$c/$NS" 2>/dev/null || unable "cgroups are read-only ($c)"
    [ -d "$R" ] || rmdir "$c/$NS" 2>/dev/null || true
  done
  mkdir -p "$H" && probe=$(mktemp -d "$H/probe.XXXX") && mkdir "$probe"/{lower,upper,work,merged}
  unshare --mount mount -t overlay overlay "$probe/merged" \
    -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" 2>/dev/null ||
    { rm -rf "$probe"; unable "no overlay file system in $H (set HEADRACE_CLUSTER_HOME to another disk)"; }
  rm -rf "$probe"
}

in_ns() { nsenter --net="/run/netns/$NS" "$@"; }
kc() { in_ns "$H/bin/kubectl" "$@"; }
ctrd() { ctr -a "$R/containerd.sock" -n k8s.io "$@"; }
# waitfor SECONDS CMD...: until CMD succeeds; the limits are for a machine that has much else to do
waitfor() {
  local end=$((SECONDS + $1)) said
  shift
  until said=$("$@" 2>&1); do
    [ $SECONDS -lt $end ] || die "timed out: $*: ${said##*$'\n'}"
    sleep 0.2
  done
}
# applied ARGS...: kubectl apply, again where a busy API server was too slow to answer
applied() { waitfor 600 kc apply --server-side --force-conflicts "$@"; }
# start NAME CMD...: run CMD in the namespace, in a session of its own
start() {
  local n=$1
  shift
  nsenter --net="/run/netns/$NS" setsid "$@" >"$L/$n.log" 2>&1 </dev/null &
  echo $! >"$R/$n.pid"
}
# forward PORT ADDRESS: 127.0.0.1:PORT of the host reaches ADDRESS of the namespace
forward() {
  start "fwd-in-$1" socat "UNIX-LISTEN:$R/fwd-$1.sock,fork,mode=600" "TCP:$2"
  setsid socat "TCP-LISTEN:$1,bind=127.0.0.1,fork,reuseaddr" "UNIX-CONNECT:$R/fwd-$1.sock" >"$L/fwd-$1.log" 2>&1 </dev/null &
  echo $! >"$R/fwd-$1.pid"
  sleep 0.2
  kill -0 $! 2>/dev/null || die "cannot listen on 127.0.0.1:$1 (set HEADRACE_CLUSTER_PORT): $(cat "$L/fwd-$1.log")"
}
s3_bucket() {
  in_ns curl -fsS --aws-sigv4 aws:amz:us-east-1:s3 --user "$S3_KEY:$S3_SECRET" -X PUT "http://$IP:$((PORT + 1))/$1"
}
# the name of an image's file
archive() { printf '%s/img/%s.tar' "$H" "${1//[\/:]/_}"; }
has_image() { [ -S "$R/containerd.sock" ] && ctrd images ls -q | grep -qxF "$1"; }
# What is in the folder of images and not in containerd as it is now: import it
import_images() (
  mkdir -p "$H/containerd/imported"
  exec 8>"$H/import.lock"
  flock 8
  there=$(ctrd images ls -q | tr /: __)
  for tar in "$H"/img/*.tar; do
    mark=$H/containerd/imported/$(basename "$tar")
    [ -e "$mark" ] && [ ! "$tar" -nt "$mark" ] && grep -qxF "$(basename "$tar" .tar)" <<<"$there" && continue
    ctrd images import "$tar" >>"$L/import.log" 2>&1 || die "cannot import $tar: $(tail -n 1 "$L/import.log")"
    touch -r "$tar" "$mark"
  done
)
# What the tests need to know, as JSON
describe() {
  local s3=$((PORT + 1)) kfp=$((PORT + 2))
  printf '{"home": "%s", "kubeconfig": "%s", "s3": "http://127.0.0.1:%s", "s3_in_pods": "http://%s:%s", "s3_key": "%s", "s3_secret": "%s", ' \
    "$H" "$KUBECONFIG" $s3 $IP $s3 $S3_KEY $S3_SECRET
  printf '"kfp": "http://127.0.0.1:%s", "kfp_in_pods": "http://10.96.0.88:8888", "registry": "%s"}\n' $kfp $IMG
}
