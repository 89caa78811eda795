"""What Kubeflow Pipelines can express, by the version of its server.

Sources: the driver (`backend/src/v2/driver`) and the compiler (`backend/src/v2/compiler/argocompiler`) of the tags
2.0.5 to 2.17.0 of github.com/kubeflow/pipelines.
"""

from __future__ import annotations

from headrace.kubeflow.portability import Support, Target, Version
from headrace.pipelines.errors import PipelineError, Problem

OLDEST: Version = (2, 0, 5)
DEFAULT = "2.0.5"
# The newest that anything here is known of; it can all that an older one can.
NEWEST = "2.17.0"
_RUN = "the run that `headrace submit` or `headrace schedule` makes, not the file"
_LATER = "no version of KFP's IR has it"
_NODES = "not compiled to KFP yet"
_FLAT = "write the steps out without it, or run the pipeline locally"


def _version(text: str) -> Version:
    """The numbers of a version; none of what is not one."""
    parts = text.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()


def target(version: str = DEFAULT) -> Target:
    """Gives the target of a server.

    Args:
        version: The version of KFP's API server, such as ``"2.0.5"``.

    Raises:
        PipelineError: It is no version, or one that is too old.
    """
    server = _version(version.removeprefix("v"))
    if len(server) != 3:
        what = f"expected a version of Kubeflow Pipelines such as {DEFAULT}, received {version!r}"
        raise PipelineError(Problem(what, f"--kfp-version {DEFAULT}", code="kfp-version"))
    if server < OLDEST:
        what = f"Kubeflow Pipelines {version} is older than {DEFAULT}, the oldest that Headrace compiles for"
        raise PipelineError(Problem(what, "update Kubeflow Pipelines", code="kfp-version"))
    return Target("kfp", server, CONSTRUCTS)


# The name that every target's module has.
TARGET = target


def _since(version: str, how: str) -> Support:
    fix = f"update Kubeflow Pipelines, and compile with --kfp-version {version}"
    return Support(how, fix, _version(version))


CONSTRUCTS: dict[str, Support] = {
    "setting retries": _since("2.4.1", "`retryPolicy.maxRetryCount` of the task; before, the server ignored it"),
    "setting retry_wait": _since("2.4.1", "`retryPolicy.backoffDuration` in whole seconds, rounded up"),
    "setting timeout": Support("coreutils' `timeout` before the container's command"),
    "setting cpu": Support("the container's `resources.cpuRequest`"),
    "setting memory": Support("`resources.memoryRequest` and `memoryLimit`"),
    "setting storage": Support(_LATER, "mount scratch space: volumes={'/scratch': 'scratch:10Gi'} (2.3.0)"),
    "setting gpu": Support("`resources.accelerator.count`"),
    "setting gpu_type": Support("`resources.accelerator.type`"),
    "setting cache": Support("the task's `cachingOptions.enableCache`"),
    "setting env": Support("the container's `env`"),
    "setting secrets": Support("platform spec: `secretAsEnv`"),
    "setting config_maps": _since("2.1.0", "platform spec: `configMapAsEnv`"),
    "setting pod_fields": _since("2.1.0", "platform spec: `fieldPathAsEnv`"),
    "setting volumes": Support(
        "platform spec: `pvcMount`, `secretAsVolume`; since 2.1.0 `configMapAsVolume`, since 2.3.0 `emptyDirMounts`"
    ),
    "setting node_selector": Support("platform spec: `nodeSelector`"),
    "setting tolerations": _since("2.1.0", "platform spec: `tolerations`"),
    # From 2.1.0 on, one template served all steps and had the labels of the first.
    "setting labels": _since("2.14.0", "platform spec: `podMetadata.labels`"),
    "setting annotations": _since("2.14.0", "platform spec: `podMetadata.annotations`"),
    "setting image": Support("the container's `image`"),
    "setting beam_args": Support("the step's document"),
    "deployment namespace": Support(_RUN),
    "deployment service_account": Support(_RUN),
    "deployment image_pull_secrets": _since("2.1.0", "platform spec: `imagePullSecret`"),
    "deployment parallelism": Support(_LATER, "limit the pods of the namespace with a ResourceQuota"),
    "deployment ttl": _since("2.17.0", "platform spec: `pipelineConfig.resourceTtlOnCompletion`"),
    "deployment pod_gc": Support(_LATER, "leave it out: KFP's persistence agent deletes finished workflows"),
    "deployment fs_group": Support(
        "`securityContext` of the platform spec has no `fsGroup`",
        "mount what the user of the image may write to, or keep data under the pipeline root",
    ),
    "deployment schedule": Support(f"a recurring run; {_RUN}"),
    "node condition": Support(_NODES, _FLAT),
    "node loop": Support(_NODES, _FLAT),
    "node exit_handler": Support(_NODES, _FLAT),
    "node sub_pipeline": Support(_NODES, _FLAT),
    "value PropertyOf": Support(_NODES, "return it from a component as an output parameter"),
    "value Comparison": Support(_NODES, "compare in a component"),
    "value OneOf": Support(_NODES, "choose in a component"),
    "value Collected": Support(_NODES, "collect in a component"),
    "input list": Support("an input artifact for each item of the list"),
    "input optional": Support("an input artifact with `isOptional`"),
    "memory root": Support("pods share no memory", "give --root s3://bucket/folder or gs://bucket/folder"),
}
# Kinds of volumes that came later than the first.
VOLUMES: dict[str, Version] = {"config_map": (2, 1, 0), "scratch": (2, 3, 0)}
