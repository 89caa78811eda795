"""What Argo Workflows can express, and how."""

from __future__ import annotations

from headrace.kubeflow.portability import Support, Target, Version

# The oldest server whose fields all that is written here are known to; the newest is the one it is tried on.
OLDEST: Version = (3, 5)
DEFAULT: Version = (3, 7)
# From here on a CronWorkflow has a list of schedules, and no longer one.
SCHEDULES: Version = (3, 6)

_LATER = "write it as a step that decides for itself, or run this pipeline locally"
_NOT_YET = "Headrace does not compile it yet"

_CONSTRUCTS = {
    "setting retries": Support("`retryStrategy.limit`, with `retryPolicy: Always`"),
    "setting retry_wait": Support("`retryStrategy.backoff`: `duration`, and `factor: 2`"),
    "setting timeout": Support("`activeDeadlineSeconds` of the template, counted for each attempt; whole seconds"),
    "setting cpu": Support("`resources.requests.cpu`, without a limit: idle cores are not withheld"),
    "setting memory": Support("`resources.requests.memory` and `resources.limits.memory`"),
    "setting storage": Support(
        "`resources.requests` and `resources.limits` of `ephemeral-storage`; Argo's own 120 MB in the pod count as well"
    ),
    "setting gpu": Support("`resources.requests` and `resources.limits` of the accelerator"),
    "setting gpu_type": Support("the resource's name"),
    "setting cache": Support(
        "each step's pod looks into the pipeline root; with `--memoize` no pod is started, but of steps with retries"
    ),
    "setting env": Support("`env`; `$` is doubled, so that Kubernetes replaces nothing"),
    "setting secrets": Support("`env` with `valueFrom.secretKeyRef`"),
    "setting config_maps": Support("`env` with `valueFrom.configMapKeyRef`"),
    "setting pod_fields": Support("`env` with `valueFrom.fieldRef`"),
    "setting volumes": Support("`volumes`: a claim, a secret, a config map, or an `emptyDir` with `sizeLimit`"),
    "setting node_selector": Support("`nodeSelector`"),
    "setting tolerations": Support("`tolerations`"),
    "setting labels": Support("`metadata.labels` of the template"),
    "setting annotations": Support("`metadata.annotations` of the template"),
    "setting image": Support("`container.image`"),
    "setting beam_args": Support("in the step's document"),
    "deployment namespace": Support("`metadata.namespace`"),
    "deployment service_account": Support("`serviceAccountName`"),
    "deployment image_pull_secrets": Support("`imagePullSecrets`"),
    "deployment parallelism": Support("`parallelism`"),
    "deployment ttl": Support("`ttlStrategy.secondsAfterCompletion`"),
    "deployment pod_gc": Support("`podGC.strategy`"),
    "deployment fs_group": Support("`securityContext.fsGroup` of the pods"),
    "deployment schedule": Support("a CronWorkflow"),
    "node condition": Support(_NOT_YET, _LATER),
    "node loop": Support(_NOT_YET, "write the rounds as steps, or run this pipeline locally"),
    "node exit_handler": Support(_NOT_YET, "run this pipeline locally"),
    "node sub_pipeline": Support(_NOT_YET, "write its steps into this pipeline"),
    "value PropertyOf": Support(_NOT_YET, "let the step take the artifact, and read the property there"),
    "value Comparison": Support(_NOT_YET, "compare within a step"),
    "value OneOf": Support(_NOT_YET, "choose within a step"),
    "value Collected": Support(_NOT_YET, "write the rounds as steps"),
    "input list": Support("an input artifact for each item"),
    "input optional": Support("its reference says that it is absent"),
    "memory root": Support("pods share no memory", "give --root s3://bucket/folder or gs://bucket/folder"),
}


def target(server: Version = DEFAULT) -> Target:
    """What a server of a version can express.

    >>> target((3, 6)).server
    (3, 6)
    """
    return Target("argo", server, _CONSTRUCTS)


TARGET = target()
