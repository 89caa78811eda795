#!/usr/bin/env bash
# image.sh REGISTRY/NAME:TAG FOLDER... [options]          an image of folders, each a layer (options: image_archive.py's)
# image.sh REGISTRY/NAME:TAG --python REQUIREMENTS [FOLDER...] [options]
#          on Debian 12 with Python 3.11, pip and the packages of the requirements file
# image.sh --python-root                                  only that Debian, as the folder $HEADRACE_CLUSTER_HOME/python-root
# Kept in $HEADRACE_CLUSTER_HOME/img; imported into the running cluster, if any, and by every later up.sh.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
[ $# -ge 2 ] || [ "${1:-}" = --python-root ] || die "usage: image.sh REGISTRY/NAME:TAG FOLDER...|--python REQUIREMENTS [FOLDER...] [options]"
name=$1
tar=$(archive "$1")
shift
mkdir -p "$H/img"
tmp=$(mktemp -d "$H/img/tmp.XXXX")
trap 'umount -l "$tmp/root/wheels" "$tmp/root" 2>/dev/null || true; rm -rf --one-file-system "$tmp"' EXIT
layers=()

python_root() { # Debian 12 with Python 3.11, once
  [ -d "$H/python-root" ] && return
  debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv bookworm "$tmp/base" \
    ${DEBOOTSTRAP_MIRROR:+"$DEBOOTSTRAP_MIRROR"} >"$tmp/log" 2>&1 || die "debootstrap: $(tail -n 1 "$tmp/log")"
  rm -rf "$tmp"/base/{var/cache/apt,var/lib/apt/lists,usr/share/doc,usr/share/man,usr/share/locale}/*
  mv "$tmp/base" "$H/python-root"
}
# python_packages REQUIREMENTS: what pip adds to the root, as a layer of its own, once for equal requirements
python_packages() {
  packages=$H/python-packages-$(sha256sum <"$1" | cut -c 1-16)
  [ -d "$packages" ] && return
  grep -q '^[^#]' "$1" || { mkdir "$packages"; return; }
  mkdir "$tmp"/{wheels,root,work,upper}
  # downloaded out here, where pip is configured; installed in there, so that its scripts fit
  "$H/venv-s3/bin/pip" wheel -q --disable-pip-version-check -w "$tmp/wheels" -r "$1"
  mount -t overlay overlay "$tmp/root" -o "lowerdir=$H/python-root,upperdir=$tmp/upper,workdir=$tmp/work"
  mkdir "$tmp/root/wheels"
  mount --bind "$tmp/wheels" "$tmp/root/wheels"
  cp "$1" "$tmp/wheels/requirements"
  env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin chroot "$tmp/root" python3 -m pip install -q --no-index --find-links /wheels \
    --break-system-packages --no-cache-dir --root-user-action=ignore -r /wheels/requirements
  umount "$tmp/root/wheels" "$tmp/root"
  rm -rf "$tmp/upper/wheels" "$tmp/upper/tmp"
  mv "$tmp/upper" "$packages"
}

if [ "$name" = --python-root ]; then
  python_root
  exit
elif [ "$1" = --python ]; then
  python_root
  python_packages "$2"
  layers=("$H/python-root" "$packages")
  shift 2
fi
python3.11 "$HERE/image_archive.py" "$name" "$tmp/tar" "${layers[@]}" "$@"
mv "$tmp/tar" "$tar"
[ ! -S "$R/containerd.sock" ] || import_images
say "image $name, $(($(stat -c %s "$tar") >> 20)) MiB"
