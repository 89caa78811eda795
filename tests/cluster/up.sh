#!/usr/bin/env bash
# up.sh [--kfp] [--while PID]: starts the cluster (a one-node Kubernetes, Argo Workflows and an S3 server) in a network
# namespace of its own, with --kfp also Kubeflow Pipelines; starts only what is not up.
# With --while, the cluster that this call started ends when the process PID has ended, however it ended.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
kfp= owner=
while [ $# -gt 0 ]; do
  case $1 in
    --kfp) kfp=1; shift ;;
    --while) owner=$2; shift 2 ;;
    *) die "usage: up.sh [--kfp] [--while PID]" ;;
  esac
done
check_machine
B=$H/bin

network() { # one bridge; nothing in the namespace leads outside
  ip netns add "$NS"
  in_ns sh -ec "ip link set lo up; ip link add node0 type bridge; ip addr add $IP/24 dev node0; ip link set node0 up
ip route add default dev node0                       # ClusterIPs need some route before they are translated
sysctl -qw net.ipv4.ip_forward=1; sysctl -qw net.bridge.bridge-nf-call-iptables=1 || true" ||
    unable "no bridge in a network namespace, or its settings are read-only"
  forward "$PORT" "$IP:$PORT"
  forward $((PORT + 1)) "$IP:$((PORT + 1))"
}

credentials() { # certificates, tokens, kubeconfig
  cd "$R/pki"
  local names="IP:127.0.0.1,IP:$IP,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
  {
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=ca -days 365
    openssl req -newkey rsa:2048 -nodes -keyout srv.key -out srv.csr -subj /CN=kube-apiserver
    openssl x509 -req -in srv.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out srv.crt -days 365 \
      -extfile <(echo "subjectAltName=$names")
    openssl genrsa -out sa.key 2048
    openssl rsa -in sa.key -pubout -out sa.pub
  } >"$L/openssl.log" 2>&1 || die "openssl: $(tail -n 1 "$L/openssl.log")"
  local token
  token=$(openssl rand -hex 16)
  (umask 077; echo "$token,admin,admin,system:masters" >tokens.csv)
  cat >"$KUBECONFIG" <<Y
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:$PORT", certificate-authority: $R/pki/ca.crt}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: c, context: {cluster: c, user: admin, namespace: argo}}]
current-context: c
Y
  chmod 600 "$KUBECONFIG"
  cd "$HERE"
}

control_plane() {
  local etcd=http://127.0.0.1:2379 peer=http://127.0.0.1:2380
  start etcd "$B/etcd" --data-dir "$R/etcd" --unsafe-no-fsync --listen-client-urls $etcd --advertise-client-urls $etcd \
    --listen-peer-urls $peer --initial-advertise-peer-urls $peer --initial-cluster default=$peer
  start kube-apiserver "$B/kube-apiserver" --etcd-servers $etcd --advertise-address $IP --bind-address 0.0.0.0 \
    --secure-port "$PORT" --tls-cert-file "$R/pki/srv.crt" --tls-private-key-file "$R/pki/srv.key" \
    --token-auth-file "$R/pki/tokens.csv" --authorization-mode Node,RBAC --service-cluster-ip-range 10.96.0.0/16 \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$R/pki/sa.pub" \
    --service-account-signing-key-file "$R/pki/sa.key" --allow-privileged \
    --kubelet-preferred-address-types InternalIP --endpoint-reconciler-type master-count
}

s3_server() {
  local actions='["Admin","Read","Write","List","Tagging"]'
  mkdir -p "$R/weed"
  echo '{"identities":[{"name":"a","credentials":[{"accessKey":"'$S3_KEY'","secretKey":"'$S3_SECRET'"}],"actions":'"$actions"'}]}' \
    >"$R/s3.json"
  # a weed also listens on /tmp/seaweedfs-*-PORT.sock, which every weed of the machine shares: ports of our own
  start s3 "$H/venv-s3/bin/weed" -logtostderr server -dir="$R/weed" -ip="$IP" -ip.bind=0.0.0.0 -volume.max=100 \
    -master.volumeSizeLimitMB=64 -master.telemetry=false -s3 -s3.port=$((PORT + 1)) -s3.config="$R/s3.json" \
    -s3.port.iceberg=0 -s3.port.lance=0 -master.port=$((17000 + ID)) -volume.port=$((18000 + ID)) \
    -filer.port=$((19000 + ID)) -s3.port.grpc=$((20000 + ID)) -filer.localSocket="$R/filer.sock" -s3.localSocket="$R/s3.sock"
}

# containerd's root outlives the cluster, so that an image of gigabytes is unpacked once
containerd_() {
  cat >"$R/cni/10.conflist" <<Y
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true, "ipam": {
   "type": "host-local", "dataDir": "$R/cni-data", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
Y
  cat >"$R/containerd.toml" <<Y
version = 2
root = "$H/containerd"
state = "$R/containerd-state"
[grpc]
  address = "$R/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$IMG/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  cni = {bin_dir = "/usr/lib/cni", conf_dir = "$R/cni"}
  containerd = {snapshotter = "overlayfs", runtimes = {runc = {runtime_type = "io.containerd.runc.v2"}}}
Y
  start containerd containerd --config "$R/containerd.toml"
  waitfor 300 ctrd version
  local left
  left=$(ctrd containers ls -q)
  [ -n "$left" ] || return 0
  # the pods of a cluster that was killed: forgotten before the kubelet sees them
  xargs -r -n 50 ctr -a "$R/containerd.sock" -n k8s.io containers rm <<<"$left" >/dev/null 2>&1 || true
  kill "$(cat "$R/containerd.pid")"
  waitfor 60 sh -c "! kill -0 $(cat "$R/containerd.pid")"
  start containerd containerd --config "$R/containerd.toml"
  waitfor 300 ctrd version
}

base_images() {
  local d i c busybox
  if [ ! "$H/img/ok" -nt "$B/argoexec" ]; then
    d=$(mktemp -d "$R/img.XXXX")
    mkdir -p "$d"/busybox/{bin,tmp,etc,root} "$d"/argoexec/{bin,tmp,etc/ssl/certs}
    busybox=$(dpkg -L busybox-static | grep 'bin/busybox$')
    cp "$busybox" "$d/busybox/bin/"
    for c in $("$busybox" --list); do [ "$c" = busybox ] || ln -s busybox "$d/busybox/bin/$c"; done
    cp "$B/argoexec" "$d/argoexec/bin/"
    cp -L /etc/ssl/certs/ca-certificates.crt "$d/argoexec/etc/ssl/certs/" 2>/dev/null || true
    for i in busybox argoexec; do
      chmod 1777 "$d/$i/tmp"
      echo root:x:0:0:root:/root:/bin/sh >"$d/$i/etc/passwd"
      echo root:x:0: >"$d/$i/etc/group"
    done
    "$HERE/image.sh" $IMG/pause:1 "$d/busybox" --entrypoint /bin/busybox,sleep,2147483647
    "$HERE/image.sh" $IMG/busybox:1 "$d/busybox"
    "$HERE/image.sh" $IMG/argoexec:1 "$d/argoexec" --entrypoint argoexec
    touch "$H/img/ok"
    rm -rf "$d"
  fi
  import_images
}

controllers() {
  start kube-controller-manager "$B/kube-controller-manager" --kubeconfig "$KUBECONFIG" --leader-elect=false \
    --bind-address 127.0.0.1 --service-account-private-key-file "$R/pki/sa.key" --root-ca-file "$R/pki/ca.crt"
  start kube-scheduler "$B/kube-scheduler" --kubeconfig "$KUBECONFIG" --leader-elect=false --bind-address 127.0.0.1
}

node() {
  for c in $(cgroups); do mkdir -p "$c/$NS"; done
  cat >"$R/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /$NS
containerRuntimeEndpoint: unix://$R/containerd.sock
failSwapOn: false
resolvConf: ""
clusterDNS: [10.96.0.10]   # nothing answers there; without it every pod gets a warning
evictionHard: {memory.available: 100Mi}   # never for the disk: images deleted to free it could not be pulled again
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
podLogsDir: $R/podlogs
syncFrequency: 10s
Y
  kubelet
  cat >"$R/proxy.yaml" <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $KUBECONFIG}
mode: iptables
hostnameOverride: node1
clusterCIDR: 10.244.0.0/16
bindAddress: $IP
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
Y
  start kube-proxy "$B/kube-proxy" --config "$R/proxy.yaml"
}

kubelet() {
  start kubelet "$B/kubelet" --config "$R/kubelet.yaml" --kubeconfig "$KUBECONFIG" --root-dir "$R/kubelet" \
    --hostname-override node1 --node-ip $IP --cert-dir "$R/kubelet-pki"
}

# The kubelet ends when containerd, which answers already, does not yet answer for Kubernetes
node_ready() {
  kill -0 "$(cat "$R/kubelet.pid")" 2>/dev/null || kubelet
  kc wait --for=condition=Ready --timeout=10s node node1
}

# Its own CRDs and RBAC; the controller runs outside the cluster. Argo's own manifests install the minimal CRDs; the full ones,
# with HEADRACE_CLUSTER_CRDS=full, let the API server refuse wrong types, and take it 10 s and 1 GiB more.
argo() {
  local manifests=$H/src/argo/manifests crds
  crds=("$manifests/base/crds/${HEADRACE_CLUSTER_CRDS:-minimal}"/argoproj*.yaml)
  applied "${crds[@]/#/--filename=}"
  kc create namespace argo >/dev/null
  python3 - "$manifests/quick-start-minimal.yaml" >"$R/argo.yaml" <<'P'
import re, sys
keep = "ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "PriorityClass"
docs = re.split(r"(?m)^---\s*$", open(sys.argv[1]).read())
print("---\n".join(d for d in docs if (m := re.search(r"(?m)^kind: (\w+)", d)) and m[1] in keep))
P
  cat >>"$R/argo.yaml" <<Y
---
apiVersion: v1
kind: ConfigMap
metadata: {name: workflow-controller-configmap}
data:
  executor: |
    imagePullPolicy: IfNotPresent
    resources: {requests: {cpu: 10m, memory: 32Mi}}
  artifactRepository: |
    s3:
      bucket: argo
      endpoint: $IP:$((PORT + 1))
      insecure: true
      accessKeySecret: {name: s3, key: accesskey}
      secretKeySecret: {name: s3, key: secretkey}
---
apiVersion: v1
kind: Secret
metadata: {name: s3}
stringData: {accesskey: $S3_KEY, secretkey: $S3_SECRET}
Y
  applied -n argo -f "$R/argo.yaml"
  kc wait --for=condition=Established --timeout=600s crd --all >/dev/null
  start workflow-controller env LEADER_ELECTION_DISABLE=true DEFAULT_REQUEUE_TIME=100ms CRON_SYNC_PERIOD=1s \
    "$B/workflow-controller" --kubeconfig "$KUBECONFIG" --configmap workflow-controller-configmap \
    --executor-image $IMG/argoexec:1 --executor-image-pull-policy IfNotPresent --qps 100 --burst 200
}

# End the cluster when the process PID has ended: a test run that is killed leaves none behind
watch_() {
  setsid bash -c 'while kill -0 "$1" 2>/dev/null; do sleep 1; done; exec "$2/down.sh"' watch-cluster "$1" "$HERE" \
    >"$L/watch.log" 2>&1 </dev/null &
  echo $! >"$R/watch.pid"
}

if [ -f "$R/ok" ] && kc get --raw /readyz >/dev/null 2>&1; then
  import_images
  say "is up"
else
  for f in hyper workflow-controller argoexec; do [ -x "$B/$f" ] || die "no $f: run build.sh"; done
  [ -f "$H/venv-s3/ok" ] || die "no S3 server: run install.sh"
  ! kill -0 "$(cat "$R/up.pid" 2>/dev/null)" 2>/dev/null || die "another up.sh is at work"
  "$HERE/down.sh" >/dev/null
  trap '[ -f "$R/ok" ] || { say "failed; see $L"; "$HERE/down.sh"; }' EXIT
  trap 'exit 130' INT TERM
  rm -rf "$L"
  mkdir -p "$R/pki" "$R/cni" "$L"
  echo $$ >"$R/up.pid"
  [ -z "$owner" ] || watch_ "$owner"
  ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
  network
  credentials
  control_plane
  s3_server
  containerd_
  base_images
  waitfor 600 kc get --raw /readyz
  say "Kubernetes API ready"
  controllers
  node
  argo
  say "Argo started"
  waitfor 600 s3_bucket argo
  waitfor 600 node_ready
  waitfor 600 kc -n argo get serviceaccount default
  touch "$R/ok"
  rm "$R/up.pid"
  say "up: KUBECONFIG=$KUBECONFIG, S3 at http://127.0.0.1:$((PORT + 1))"
fi
[ -z "$kfp" ] || "$HERE/up_kfp.sh"
