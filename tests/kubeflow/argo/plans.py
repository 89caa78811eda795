"""Plans made by hand, and at random: no code stands behind their steps, as none is needed to compile them."""

from __future__ import annotations

from typing import Any

from headrace.kubeflow.deployment import Deployment, Schedule
from headrace.kubeflow.step_document import task_name
from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.plan import (
    ArtifactSlot,
    Channel,
    Const,
    Interface,
    ListOf,
    MapOf,
    Parameter,
    Plan,
    PlanParameter,
    Settings,
    Step,
    Value,
)
from hypothesis import strategies as st

DEPLOYMENT = Deployment(image="repo/flights:1", root="s3://bucket/root")
CODE = FunctionRef("project.steps", "make", "0" * 64)
# Text that some reader on the way takes for more than text.
HOSTILE = [
    "{{workflow.name}}",
    "{{=1+1}}",
    "{{$}}",
    "{{",
    "}}",
    "{{{{}}",
    "$(HOME) $$ ${HOME} `id` $(id)",
    "no",
    "n",
    "y",
    "on",
    "1e3",
    "0o17",
    "017",
    "0x1F",
    "12:30",
    "12:30:45",
    "1_000",
    ".5",
    "~",
    "null",
    "",
    " ",
    "-",
    "- a",
    "a: b",
    "a #b",
    "# a",
    "!!python/object:os.system",
    "!x",
    "&a",
    "*a",
    "%a",
    "@a",
    "`a`",
    "|",
    ">",
    "?",
    "? a",
    "[a",
    "{a",
    "a\nb",
    "a\n",
    "\ta",
    "a\r\nb",
    "\x85\u2028\u2029\ufeff",
    "\x07\x08\x0b\x1b\x7f\x9f",
    "emoji \U0001f389 \U000e0001",
    "'\"\\",
    "\\u007b",
    "<a>&b",
    "=1",
    "<<",
    "2001-01-01",
    "true",
    "retries item lastRetry.exitCode",
    "---",
    "...",
    "\u00e9\u4e2d",
]


def make_step(
    id_: str,
    *,
    inputs: dict[str, Value] | None = None,
    outputs: tuple[str, ...] = (),
    results: dict[str, str] | None = None,
    arguments: dict[str, Value] | None = None,
    kinds: dict[str, str] | None = None,
    slots: dict[str, ArtifactSlot] | None = None,
    settings: Settings | None = None,
    place: str = "worker",
) -> Step:
    """A step whose interface follows from what it is given."""
    slots = slots or {}
    found = {name: slots.get(name, ArtifactSlot("Examples")) for name in inputs or {}}
    interface = Interface(
        tuple(sorted((slots | found).items())),
        tuple((name, "Examples") for name in sorted(outputs)),
        tuple(sorted((results or {}).items())),
        tuple(sorted((kinds or dict.fromkeys(arguments or {}, "Any")).items())),
    )
    return Step(
        id_,
        CODE,
        interface,
        tuple(sorted((inputs or {}).items())),
        tuple(sorted((arguments or {}).items())),
        settings or Settings(),
        place=place,
    )


def make_plan(*steps: Step, name: str = "flights", parameters: tuple[PlanParameter, ...] = ()) -> Plan:
    return Plan(name, steps, tuple(sorted(parameters, key=lambda parameter: parameter.name)))


_words = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)
_texts = st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_VALUES: dict[str, Any] = {
    "str": _texts.filter(lambda text: "{{" not in text),
    "str?": st.none() | _texts,
    "int": st.integers(),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
    "list[str]": st.lists(_texts, max_size=3),
    "list[int]?": st.none() | st.lists(st.integers(), max_size=3),
    "dict[str,float]": st.dictionaries(_texts, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    "'a'|'no'|'{{b}}'": st.sampled_from(["a", "no", "{{b}}"]),
    "dict": st.dictionaries(_texts, _json, max_size=3),
}
_quantities = st.sampled_from(["1", "500m", "1.5", "4Gi", "10M", "2k"])
_label_texts = st.sampled_from(["", "a", "no", "1e3", "0", "A.b_c-1", "true", "12"])
_plain_texts = _texts.filter(lambda text: "{{" not in text and "\0" not in text)
_label_keys = st.sampled_from(["a", "app.kubernetes.io/name", "X_1", "no", "y"])


@st.composite
def settings(draw: st.DrawFn) -> Settings:
    """Settings of every kind, each now and then."""
    names = draw(st.lists(st.sampled_from(["A", "b", "_C", "D1", "no"]), unique=True, max_size=5))
    groups = [draw(st.sampled_from(["env", "secrets", "config_maps", "pod_fields"])) for _ in names]
    source = {
        "env": _plain_texts,
        "secrets": st.sampled_from(["vault/token", "a.b/no"]),
        "config_maps": st.sampled_from(["map/key", "m/a.txt"]),
        "pod_fields": st.sampled_from(["metadata.name", "metadata.labels['a/b']", "status.podIP"]),
    }
    environment: dict[str, dict[str, str]] = {}
    for name, group in zip(names, groups, strict=True):
        environment.setdefault(group, {})[name] = draw(source[group])
    volumes = st.sampled_from(["pvc:data", "secret:s", "config_map:m", "scratch:1Gi"])
    paths = st.sampled_from(["/data", "/tmp", "/a/b", "/no"])
    tolerations = st.sampled_from(
        [{"key": "gpu", "operator": "Exists"}, {"key": "k", "value": "no", "effect": "NoSchedule"}]
    )
    optional = {
        "retries": st.integers(0, 5),
        "retry_wait": st.sampled_from([0.0, 0.25, 1.0, 60.0]),
        "timeout": st.sampled_from([0.5, 1.0, 3600.0]),
        "cpu": _quantities,
        "memory": _quantities,
        "storage": _quantities,
        "gpu": st.integers(0, 8),
        "gpu_type": st.sampled_from(["nvidia.com/gpu", "amd.com/gpu"]),
        "cache": st.booleans(),
        "volumes": st.dictionaries(paths, volumes, max_size=3),
        "node_selector": st.dictionaries(_label_keys, _label_texts, max_size=2),
        "tolerations": st.lists(tolerations, max_size=2),
        "labels": st.dictionaries(_label_keys, _label_texts, max_size=2),
        "annotations": st.dictionaries(_label_keys, _plain_texts, max_size=2),
        "image": st.sampled_from(["other:1", "host:5000/a/b@sha256:" + "0" * 64]),
        "beam_args": st.lists(_texts, max_size=2),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(optional)), unique=True, max_size=6))
    return Settings.from_json({name: draw(optional[name]) for name in chosen} | environment)


@st.composite
def plans(draw: st.DrawFn, most: int = 60) -> Plan:
    """A pipeline of 1 to `most` steps: artifacts, results, parameters and settings of all kinds."""
    kinds = draw(st.lists(st.sampled_from(sorted(_VALUES)), max_size=5))
    parameters = []
    for number, kind in enumerate(kinds):
        required = draw(st.booleans())
        default = None if required else draw(_VALUES[kind])
        parameters.append(PlanParameter(f"p{number}", kind, default, required))
    # Few and many: lists of Hypothesis' own choice are seldom long.
    size = min(most, draw(st.sampled_from([1, 2, 3, 5, 8, 20, 60])))
    names = draw(st.lists(_words, min_size=size, max_size=size, unique_by=task_name))
    steps: list[Step] = []
    for name in names:
        steps.append(draw(_steps(name, steps, parameters)))
    return make_plan(
        *steps, name=draw(_texts.filter(lambda text: text and "{{" not in text)), parameters=tuple(parameters)
    )


@st.composite
def _steps(draw: st.DrawFn, name: str, before: list[Step], parameters: list[PlanParameter]) -> Step:
    artifacts = [Channel(step.id, output) for step in before for output, _ in step.interface.outputs]
    unknown: list[Value] = [Channel(step.id, result) for step in before for result, _ in step.interface.results]
    unknown += [Parameter(parameter.name) for parameter in parameters]
    inputs: dict[str, Value] = {}
    slots: dict[str, ArtifactSlot] = {}
    for port in draw(st.lists(_words, max_size=3, unique=True)):
        is_list = draw(st.booleans())
        slots[port] = ArtifactSlot("Examples", list=is_list, optional=True)
        if artifacts and draw(st.booleans()):
            chosen = draw(st.lists(st.sampled_from(artifacts), min_size=1, max_size=3))
            inputs[port] = ListOf(tuple(chosen)) if is_list else chosen[0]
    value = st.builds(Const, _json)
    if unknown:
        one = st.sampled_from(unknown)
        value |= one | st.builds(lambda a, b: ListOf((a, b)), one, value) | st.builds(lambda a: MapOf((("k", a),)), one)
    arguments = draw(st.dictionaries(_words, value, max_size=3))
    kind = {argument: draw(st.sampled_from(["Any", "files", "files?"])) for argument in arguments}
    # No component has an output artifact and an output parameter of one name.
    made = draw(st.lists(_words, max_size=4, unique=True))
    artifacts = draw(st.integers(0, min(2, len(made))))
    return make_step(
        name,
        inputs=inputs,
        slots=slots,
        outputs=tuple(made[:artifacts]),
        results=dict.fromkeys(made[artifacts:], "Any"),
        arguments=arguments,
        kinds=kind,
        settings=draw(settings()),
        place=draw(st.sampled_from(["worker", "worker", "driver"])),
    )


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    maybe = st.booleans()
    return Deployment(
        image="repo/flights:1",
        root=draw(st.sampled_from(["s3://bucket/root", "gs://b/$(HOME)/x"])),
        store="postgresql://user@host/db" if draw(maybe) else None,
        settings=draw(settings()) if draw(maybe) else Settings(),
        namespace="argo" if draw(maybe) else None,
        service_account="runner" if draw(maybe) else None,
        image_pull_secrets=("registry",) if draw(maybe) else (),
        parallelism=draw(st.sampled_from([None, 1, 10])),
        ttl=draw(st.sampled_from([None, 0, 3600])),
        pod_gc=draw(st.sampled_from([None, "OnPodCompletion"])),
        fs_group=draw(st.sampled_from([None, 0, 1000])),
        schedule=Schedule("*/5 0 * * 1-5", "Europe/Zurich", draw(st.sampled_from(["Allow", "Forbid", "Replace"]))),
        fail_if_not_blessed=draw(maybe),
        log_prefix=draw(maybe),
    )
