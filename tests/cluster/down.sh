#!/usr/bin/env bash
# down.sh: ends the cluster, in whatever state up.sh left it; does nothing if there is none.
# What was built and the images stay, and the logs in $HEADRACE_CLUSTER_HOME/log.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
[ "$(id -u)" = 0 ] || unable "needs root"
command -v ip >/dev/null || exit 0 # nothing was ever installed
[ "$(ip netns identify $$)" != "$NS" ] || die "this shell is in the cluster's network namespace"
shopt -s nullglob
# Every process of the cluster: up.sh, its watch, the two ends of the port forwards, the pods, all else in the network namespace
pids() {
  local f p cmd
  for f in "$R"/up.pi[d] "$R"/watch.pi[d] "$R"/fwd-*.pid; do # these run outside the namespace: make sure of them
    p=$(cat "$f")
    cmd=$({ tr '\0' ' ' <"/proc/$p/cmdline"; } 2>/dev/null) || continue
    case $cmd in *"$R/fwd-"* | *up.sh* | *watch-cluster*) echo "$p" ;; esac
  done
  find /sys/fs/cgroup/"$NS" /sys/fs/cgroup/*/"$NS" -name cgroup.procs -exec cat {} + 2>/dev/null || true
  ip netns pids "$NS" 2>/dev/null || true
}
for signal in TERM KILL; do
  for _ in $(seq 10); do
    left=$(pids | grep -vxF -e $$ -e "$PPID" | sort -u) || break
    # shellcheck disable=SC2086
    kill -s $signal $left 2>/dev/null || true
    sleep 0.2
  done
done
while read -r m; do umount -l "$m"; done < <(awk -v r="$R/" 'index($2, r) == 1 {print $2}' /proc/mounts | sort -r)
ip netns del "$NS" 2>/dev/null || true
find /sys/fs/cgroup/"$NS" /sys/fs/cgroup/*/"$NS" -depth -type d -exec rmdir {} + 2>/dev/null || true
rm -rf --one-file-system "$R" /tmp/seaweedfs-*-{17,18,19,20,27,28,29}"$(printf %03d "$ID")".sock
say "down"
