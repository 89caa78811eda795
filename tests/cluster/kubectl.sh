#!/usr/bin/env bash
# kubectl.sh ARGS...: kubectl for the cluster; the default namespace is argo.
. "$(dirname "$0")/settings.sh"
kc "$@"
