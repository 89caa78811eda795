#!/usr/bin/env bash
# docker.sh up [--while PID]: a Docker daemon of our own, with a base image in place of Docker Hub's python:3.11-slim; prints the
#                             DOCKER_HOST. docker.sh down: ends it. Its images stay in $HEADRACE_CLUSTER_HOME/docker.
# It has no bridge and touches no firewall: builds and containers take the host's network (--network=host).
set -euo pipefail
. "$(dirname "$0")/settings.sh"
D=$H/docker
S=$D/state # of the running daemon
export DOCKER_HOST=unix://$S/docker.sock DOCKER_CONFIG=$D/config
docker=/usr/bin/docker # Debian's, of the daemon's version, whatever else is on the path
BASE=python:3.11-slim

ours() { # the daemon's process, if it is one
  local pid
  pid=$(cat "$S/docker.pid" 2>/dev/null) || return 1
  { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF "$S/docker.sock" && echo "$pid"
}

base_image() {
  ! "$docker" image inspect "$BASE" >/dev/null 2>&1 || return 0
  "$HERE/image.sh" --python-root >&2
  local root=$D/base p
  rm -rf "$root"
  cp -a "$H/python-root" "$root"
  # as in Docker Hub's: `python` and `pip` in /usr/local/bin, into which pip may install
  for p in python python3 python3.11; do ln -sf /usr/bin/python3.11 "$root/usr/local/bin/$p"; done
  for p in pip pip3; do ln -sf /usr/bin/pip3 "$root/usr/local/bin/$p"; done
  rm -f "$root/usr/lib/python3.11/EXTERNALLY-MANAGED"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" # builds reach what this machine reaches
  tar -C "$root" -cf - . | "$docker" import -c 'CMD ["python3"]' \
    -c 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8' - "$BASE" >/dev/null
  "$docker" tag "$BASE" "$BASE-bookworm"
  rm -rf "$root"
}

# What is left when the daemon itself is gone: its containerd, the shims, the containers
left() {
  grep -lsF "$S/" /proc/[0-9]*/cmdline | cut -d/ -f3 | grep -vx $$ || true
  find /sys/fs/cgroup/"$NS-docker" /sys/fs/cgroup/*/"$NS-docker" -name cgroup.procs -exec cat {} + 2>/dev/null || true
}

down() {
  local pid m
  ! [ -f "$S/watch.pid" ] || [ "$(cat "$S/watch.pid")" = "${1:-}" ] || kill "$(cat "$S/watch.pid")" 2>/dev/null || true
  if pid=$(ours); then # it ends its containers, and then itself
    kill "$pid"
    waitfor 300 sh -c "! kill -0 $pid"
  fi
  for _ in $(seq 10); do
    pid=$(left)
    [ -n "$pid" ] || break
    # shellcheck disable=SC2086
    kill -KILL $pid 2>/dev/null || true
    sleep 0.2
  done
  while read -r m; do umount -l "$m"; done < <(awk -v d="$D/" 'index($2, d) == 1 {print $2}' /proc/mounts | sort -r)
  find /sys/fs/cgroup/"$NS-docker" /sys/fs/cgroup/*/"$NS-docker" -depth -type d -exec rmdir {} + 2>/dev/null || true
  rm -rf --one-file-system "$S"
}

case ${1:-} in
  up)
    check_machine
    if ! dpkg -s docker.io >/dev/null 2>&1; then
      apt-get update -q -o DPkg::Lock::Timeout=300 >"$H/apt.log" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends -o DPkg::Lock::Timeout=300 docker.io \
          >>"$H/apt.log" 2>&1 || die "apt-get cannot install docker.io: $(tail -n 1 "$H/apt.log") (all of it: $H/apt.log)"
    fi
    if ! ours >/dev/null; then
      down
      mkdir -p "$S" "$DOCKER_CONFIG"
      setsid dockerd --iptables=false --ip6tables=false --bridge=none --cgroup-parent="/$NS-docker" --data-root "$D/data" \
        --exec-root "$S/exec" -H "$DOCKER_HOST" --pidfile "$S/docker.pid" >"$D/log" 2>&1 </dev/null &
      if [ "${2:-}" = --while ]; then
        setsid bash -c 'while kill -0 "$1" 2>/dev/null; do sleep 1; done; exec "$2" down $$' watch-docker "$3" "$HERE/docker.sh" \
          >/dev/null 2>&1 </dev/null &
        echo $! >"$S/watch.pid"
      fi
    fi
    waitfor 300 "$docker" version
    base_image
    echo "DOCKER_HOST=$DOCKER_HOST"
    ;;
  down)
    [ "$(id -u)" = 0 ] || unable "needs root"
    down "${2:-}"
    ;;
  *) die "usage: docker.sh up [--while PID] | down" ;;
esac
