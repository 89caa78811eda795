#!/usr/bin/env bash
# headrace_image.sh NAME:TAG PROJECT [HEADRACE]: the image that a user would make, by kubeflow/Dockerfile and `headrace image build`:
# the project in the folder PROJECT on top of this checkout's Headrace; and into the cluster. HEADRACE is the command (default: headrace).
# The image of the Dockerfile is built anew when what Headrace depends on has changed; a change of its code alone is laid over it.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
[ $# -ge 2 ] || die "usage: headrace_image.sh NAME:TAG PROJECT [HEADRACE]"
name=$1 project=$(realpath "$2") headrace=${3:-headrace} repo=$(realpath "$HERE/../..")
DOCKER_HOST=$("$HERE/docker.sh" up --while $$)
export DOCKER_HOST=${DOCKER_HOST#DOCKER_HOST=} DOCKER_BUILDKIT=1 PATH=/usr/bin:$PATH
tmp=$(mktemp -d "$H/img/tmp.XXXX")
trap 'rm -rf "$tmp"' EXIT

dependencies=headrace-dependencies:$(cd "$repo" && cat setup.py kubeflow/Dockerfile kubeflow/image/slim.sh | sha256sum | cut -c 1-12)
if ! docker image inspect "$dependencies" >/dev/null 2>&1; then
  docker build --quiet --network=host -f "$repo/kubeflow/Dockerfile" -t "$dependencies" "$repo" >/dev/null
  say "kubeflow/Dockerfile"
fi

"$H/venv-s3/bin/pip" wheel -q --disable-pip-version-check --no-deps -w "$tmp" "$repo"
mkdir "$tmp/code"
python3.11 -m zipfile -e "$tmp"/headrace-*.whl "$tmp/code/packages"
cat >"$tmp/code/Dockerfile" <<D
FROM $dependencies
USER 0
RUN rm -rf /opt/headrace/lib/python3.*/site-packages/headrace /opt/headrace/lib/python3.*/site-packages/headrace-*
COPY packages /tmp/packages
RUN mv /tmp/packages/* /opt/headrace/lib/python3.*/site-packages/ && rm -r /tmp/packages && \\
    python -m compileall -q --invalidation-mode unchecked-hash /opt/headrace/lib/python3.*/site-packages/headrace
USER 1000:1000
D
docker build --quiet --network=host -t headrace:cluster "$tmp/code" >/dev/null
"$headrace" image build --project "$project" --base headrace:cluster --tag "$name" --option=--network=host --option=--quiet
tar=$(archive "$name")
id=$(docker image inspect -f '{{.Id}}' "$name")
mark=$H/containerd/imported/$(basename "$tar").id # of what containerd has
if [ "$(cat "$mark" 2>/dev/null)" != "$id" ] || ! has_image "$name"; then
  docker save "$name" -o "$tmp/tar"
  mv "$tmp/tar" "$tar"
  if [ -S "$R/containerd.sock" ]; then
    import_images
    rm "$tar" # of gigabytes one copy is enough
    echo "$id" >"$mark"
  fi
fi
# what this call has replaced
docker image ls -q --no-trunc --filter before="$dependencies" headrace-dependencies | xargs -r docker image rm >/dev/null 2>&1 || true
docker image prune -f >/dev/null
say "image $name, $(($(docker image inspect -f '{{.Size}}' "$name") >> 20)) MiB"
