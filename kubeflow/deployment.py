"""Where a compiled pipeline runs: image, artifact root, and what all of its steps share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from headrace.pipelines import storage
from headrace.pipelines.errors import PipelineError, Problem
from headrace.pipelines.parameter_values import NotAllowed, encode
from headrace.pipelines.plan import Settings, Step


@dataclass(frozen=True)
class Schedule:
    """When a pipeline is run.

    Args:
        cron: Five fields: minute, hour, day of the month, month, day of the week.
        timezone: An IANA name, such as ``"Europe/Zurich"``; UTC by default.
        concurrency: ``"Allow"``, ``"Forbid"`` or ``"Replace"`` a run that is not done when the next is due.
    """

    cron: str
    timezone: str = "UTC"
    concurrency: str = "Forbid"


@dataclass(frozen=True)
class Deployment:
    """Where a compiled pipeline runs, beside what its author's file says.

    Args:
        image: The container image of every step that names none itself.
        root: The pipeline root: a URL that every pod can write to, such as ``"s3://bucket/pipelines"``.
        store: PostgreSQL store that steps report to. Without its password, which comes from a secret as PGPASSWORD.
        settings: Defaults of every step's settings; a step's own win.
        project: The project's folder in the image.
        namespace: Kubernetes namespace (Argo; KFP's server has its own).
        service_account: The pods' service account.
        image_pull_secrets: Names of secrets with which images are pulled.
        parallelism: Pods at a time.
        ttl: Seconds after which a finished workflow is deleted (Argo).
        pod_gc: When pods are deleted (Argo): ``"OnPodCompletion"``, ``"OnPodSuccess"``, ``"OnWorkflowCompletion"`` or
            ``"OnWorkflowSuccess"``.
        fs_group: Group that a pod's volumes belong to, in which steps may then write as the user that they run as:
            a claim's folder is otherwise root's. Steps run as user and group 1000 in Headrace's image.
        schedule: When it runs.
        fail_if_not_blessed: Whether a model that is not blessed fails the run. It pushes nothing either way.
        log_prefix: Whether each line of a step's log begins with the step's name.

    >>> Deployment(image="repo/flights:1", root="s3://bucket/root").image
    'repo/flights:1'
    """

    image: str
    root: str
    store: str | None = None
    settings: Settings = field(default_factory=Settings)
    project: str = "/app"
    namespace: str | None = None
    service_account: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    parallelism: int | None = None
    ttl: int | None = None
    pod_gc: str | None = None
    fs_group: int | None = None
    schedule: Schedule | None = None
    fail_if_not_blessed: bool = False
    log_prefix: bool = True

    def __post_init__(self) -> None:
        problems = [Problem(what, fix, code="deployment") for what, fix in _wrong(self)]
        if problems:
            raise PipelineError(problems)

    def settings_of(self, step: Step) -> Settings:
        """A step's settings over the deployment's."""
        return step.settings.over(self.settings)

    def image_of(self, step: Step) -> str:
        return self.settings_of(step).image or self.image

    def deployed(self, step: Step) -> Step:
        """The step with the settings that it has here."""
        return replace(step, settings=self.settings_of(step))

    @classmethod
    def from_yaml(cls, path: str | Path, **given: Any) -> Deployment:
        """Reads a deployment file, whose keys are the arguments above.

        Args:
            path: The file.
            given: Arguments that win over the file's; None counts as not given.

        Raises:
            PipelineError: The file does not parse, or a key or a value in it is wrong.
        """
        import yaml

        try:
            document = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise PipelineError(Problem(f"{path}: {error}", "correct the deployment file", code="deployment")) from None
        return cls.from_document(document, where=str(path), **given)

    @classmethod
    def from_document(cls, document: Any, *, where: str = "deployment", **given: Any) -> Deployment:
        """Makes a deployment of a mapping.

        Raises:
            PipelineError: A key or a value is wrong, or one is missing.
        """

        def problem(what: str, fix: str) -> PipelineError:
            return PipelineError(Problem(f"{where}: {what}", fix, code="deployment"))

        if not isinstance(document, Mapping):
            raise problem(f"expected a mapping, received {type(document).__name__}", "write key: value lines")
        values = {**document, **{name: value for name, value in given.items() if value is not None}}
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(map(str, values)) - known):
            raise problem(f"unknown key {unknown[0]!r}", f"there are {', '.join(sorted(known))}")
        if missing := [name for name in ("image", "root") if name not in values]:
            raise problem(f"{missing[0]} is missing", f"give --{missing[0]}, or write {missing[0]}: in the file")
        try:
            if isinstance(values.get("settings"), Mapping):
                values["settings"] = Settings.from_json(values["settings"])
            if isinstance(values.get("schedule"), Mapping):
                values["schedule"] = Schedule(**values["schedule"])
            for name, type_ in _TYPES.items():
                if name in values:
                    values[name] = encode(values[name], type_)
        except (ValueError, NotAllowed, TypeError) as error:
            raise problem(str(error), "correct it") from None
        if "image_pull_secrets" in values:
            values["image_pull_secrets"] = tuple(values["image_pull_secrets"])
        return cls(**values)


_TYPES: dict[str, Any] = {
    "image": str,
    "root": str,
    "store": str | None,
    "project": str,
    "namespace": str | None,
    "service_account": str | None,
    "image_pull_secrets": list[str],
    "parallelism": int | None,
    "ttl": int | None,
    "pod_gc": str | None,
    "fs_group": int | None,
    "fail_if_not_blessed": bool,
    "log_prefix": bool,
}
POD_GC = ("OnPodCompletion", "OnPodSuccess", "OnWorkflowCompletion", "OnWorkflowSuccess")
CONCURRENCY = ("Allow", "Forbid", "Replace")


def _wrong(deployment: Deployment) -> list[tuple[str, str]]:
    """What cannot be meant, as (what, fix)."""
    found = []
    if not deployment.image:
        found.append(("image is empty", "give --image REPOSITORY:TAG"))
    if storage.is_local(deployment.root):
        what = f"root: expected a URL that every pod can write to, received {deployment.root!r}"
        found.append((what, "give --root s3://bucket/folder or gs://bucket/folder"))
    if deployment.store is not None and _has_password(deployment.store):
        fix = "leave it out, and give the pods PGPASSWORD: settings: {secrets: {PGPASSWORD: secret/key}}"
        found.append(("store: the URL has a password in it, which would be in the compiled file", fix))
    if deployment.store is not None and not deployment.store.startswith("postgresql://"):
        found.append((f"store: expected postgresql://USER@HOST/DATABASE, received {deployment.store!r}", "correct it"))
    if deployment.pod_gc is not None and deployment.pod_gc not in POD_GC:
        found.append((f"pod_gc: expected one of {', '.join(POD_GC)}, received {deployment.pod_gc!r}", "correct it"))
    if deployment.fs_group is not None and not 0 <= deployment.fs_group < 2**31:
        found.append((f"fs_group: expected a group's number, received {deployment.fs_group}", "write one such as 1000"))
    if deployment.schedule is not None:
        found += _wrong_schedule(deployment.schedule)
    return found


def _has_password(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.password) or any("password" in name.lower() for name, _ in parse_qsl(parts.query))


def _wrong_schedule(schedule: Schedule) -> list[tuple[str, str]]:
    import zoneinfo

    found = []
    if len(schedule.cron.split()) != 5:
        fix = "write minute hour day month weekday, such as '0 6 * * 1-5'"
        found.append((f"schedule: expected five fields, received {schedule.cron!r}", fix))
    try:
        zoneinfo.ZoneInfo(schedule.timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        found.append((f"schedule: unknown time zone {schedule.timezone!r}", "write one such as Europe/Zurich"))
    if schedule.concurrency not in CONCURRENCY:
        what = f"schedule: concurrency is one of {', '.join(CONCURRENCY)}, received {schedule.concurrency!r}"
        found.append((what, "correct it"))
    return found
