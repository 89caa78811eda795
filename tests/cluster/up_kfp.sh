#!/usr/bin/env bash
# up_kfp.sh: Kubeflow Pipelines on the running cluster, in namespace kubeflow; does nothing if it is up. Called by up.sh --kfp.
# Its API server, persistence agent and scheduler are pods; MariaDB and the stand-in for ML Metadata's server run beside them.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
[ -f "$R/ok" ] || die "no cluster: run up.sh"
[ -x "$H/bin/kfp-apiserver" ] || die "no Kubeflow Pipelines: run build.sh kfp"
if [ -f "$R/kfp.ok" ]; then
  say "Kubeflow Pipelines is up"
  exit
fi
# what a call that was interrupted left
for n in kfp-mariadb kfp-mlmd "fwd-in-$((PORT + 2))" "fwd-$((PORT + 2))"; do
  [ ! -f "$R/$n.pid" ] || kill "$(cat "$R/$n.pid")" 2>/dev/null || true
done
kc delete namespace kubeflow --ignore-not-found --timeout=600s >/dev/null
rm -rf "$R/kfp" "$R/fwd-$((PORT + 2)).sock"

image=$H/img/${IMG}_kfp_1.tar # one for all its programs
if [ ! -f "$image" ] || [ -n "$(find "$H"/bin/kfp-* -newer "$image")" ]; then
  d=$(mktemp -d "$R/img.XXXX")
  mkdir -p "$d/bin" "$d/tmp"
  chmod 1777 "$d/tmp"
  for b in apiserver:apiserver driver:driver launcher:launcher-v2 persistence:persistenceagent scheduler:scheduledworkflow; do
    cp "$H/bin/kfp-${b%:*}" "$d/bin/${b#*:}"
  done
  "$HERE/image.sh" "$IMG/kfp:1" "$d"
  rm -rf "$d"
fi
mkdir "$R/kfp"
mariadb-install-db --no-defaults --user=root --datadir="$R/kfp/db" --auth-root-authentication-method=normal --skip-test-db \
  --force >"$L/mariadb-install.log" 2>&1
printf '%s;\n' 'CREATE USER IF NOT EXISTS kfp' 'GRANT ALL ON *.* TO kfp' >"$R/kfp/init.sql" # MariaDB reads a statement a line
start kfp-mariadb mariadbd --no-defaults --user=root --datadir="$R/kfp/db" --socket="$R/kfp/db.sock" \
  --pid-file="$R/kfp/db.pid" --bind-address="$IP" --skip-name-resolve --init-file="$R/kfp/init.sql"
start kfp-mlmd "$H/venv-mlmd/bin/python" "$HERE/metadata_server.py" 8080 "$R/kfp/mlmd.sqlite"
waitfor 300 in_ns socat -u OPEN:/dev/null "TCP:$IP:3306"
waitfor 300 in_ns socat -u OPEN:/dev/null "TCP:$IP:8080"
s3_bucket mlpipeline >/dev/null 2>&1 || true # is there already, if an interrupted call made it

m=$H/src/kfp/manifests/kustomize/base/pipeline
kc create namespace kubeflow >/dev/null
applied -n kubeflow -f "$m/cluster-scoped/scheduled-workflow-crd.yaml" -f "$m/pipeline-runner-role.yaml" \
  -f "$m/ml-pipeline-apiserver-role.yaml" -f "$m/ml-pipeline-persistenceagent-role.yaml" \
  -f "$m/ml-pipeline-scheduledworkflow-role.yaml"
sed -e "s/@IP@/$IP/g; s/@S3PORT@/$((PORT + 1))/g; s/@S3_KEY@/$S3_KEY/g; s/@S3_SECRET@/$S3_SECRET/g" "$HERE/kubeflow.yaml" >"$R/kubeflow.yaml"
applied -n kubeflow -f "$R/kubeflow.yaml"
for d in ml-pipeline ml-pipeline-persistenceagent ml-pipeline-scheduledworkflow; do
  kc -n kubeflow rollout status --timeout=600s deployment/$d >/dev/null
done
forward $((PORT + 2)) 10.96.0.88:8888
touch "$R/kfp.ok"
say "Kubeflow Pipelines up: kfp.Client(host='http://127.0.0.1:$((PORT + 2))')"
