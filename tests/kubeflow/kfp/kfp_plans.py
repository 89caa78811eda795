"""Pipelines of KFP's tests: the example, and some with every kind of port and setting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from headrace.kubeflow.deployment import Deployment
from headrace.pipelines.author_file import load_plan
from headrace.pipelines.plan import (
    ArtifactSlot,
    Channel,
    Const,
    ListOf,
    MapOf,
    Parameter,
    Plan,
    PlanParameter,
    Settings,
    Step,
)

from tests.kubeflow.argo.plans import make_plan, make_step

ROOT = Path(__file__).parents[3]
DEPLOYMENT = Deployment(image="repo/flights:1", root="s3://bucket/root")
NEWEST = "2.17.0"

# What every server has.
OLD_SETTINGS: dict[str, Any] = {
    "timeout": 600,
    "cpu": "500m",
    "memory": "4Gi",
    "gpu": 1,
    "gpu_type": "nvidia.com/gpu",
    "cache": False,
    "env": {"MODE": "no", "PRICE": "5$", "SUM": "$(MODE) $$"},
    "secrets": {"TOKEN": "vault/token", "USER": "vault/user"},
    "volumes": {"/data": "pvc:data", "/secret": "secret:certificates"},
    "node_selector": {"disk": "ssd"},
    "image": "repo/other:2",
    "beam_args": ["--runner=FlinkRunner"],
}
# What came with later servers.
NEW_SETTINGS: dict[str, Any] = {
    **OLD_SETTINGS,
    "retries": 3,
    "retry_wait": 1.5,
    "config_maps": {"LEVEL": "logging/level"},
    "pod_fields": {"POD": "metadata.name"},
    "volumes": {**OLD_SETTINGS["volumes"], "/config": "config_map:logging", "/scratch": "scratch:10Gi"},
    "tolerations": [
        {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"},
        {"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": "60"},
    ],
    "labels": {"team": "flights", "on": "no"},
    "annotations": {"example.com/note": "1e3"},
}


def flights() -> Plan:
    return load_plan(str(ROOT / "examples" / "flights" / "pipeline.py"), root=str(ROOT))


def bird_strikes() -> Plan:
    return load_plan(str(ROOT / "examples" / "bird_strikes" / "pipeline.py"), root=str(ROOT))


def digits() -> Plan:
    return load_plan(str(ROOT / "examples" / "digits" / "pipeline.py"), root=str(ROOT))


def same_everywhere(text: str) -> str:
    """A compiled file without what an edit of the code changes: its digests."""
    return re.sub(r'(code_digest\\":\\")[0-9a-f]{64}', r"\g<1>" + "0" * 64, text)


def one_step(**settings: Any) -> Plan:
    """A pipeline of one step with these settings."""
    return make_plan(make_step("Train", outputs=("model",), settings=Settings.from_json(settings)))


def ports() -> Plan:
    """Artifacts and parameters in every form: a list, an optional input left out, results, parameters of all types."""
    parameters = (
        PlanParameter("text", "str", "a b"),
        PlanParameter("count", "int", 3),
        PlanParameter("rate", "float", 0.5),
        PlanParameter("deep", "bool", True),
        PlanParameter("words", "list[str]", ["no", "1e3"]),
        PlanParameter("weights", "dict[str,float]", {"a": 1.0}),
        PlanParameter("limit", "int?", None),
        PlanParameter("mode", "'fast'|'exact'", "fast"),
        PlanParameter("required", "str", None, required=True),
    )
    steps = (
        make_step("First", outputs=("examples",), results={"rows": "int", "name": "str"}),
        make_step("second_one", outputs=("examples",)),
        Step(
            "Join",
            make_step("x").component,
            make_step(
                "x",
                slots={
                    "all": ArtifactSlot("Examples", list=True),
                    "extra": ArtifactSlot("Schema", optional=True),
                    "one": ArtifactSlot("Artifact"),
                },
                outputs=("joined",),
                kinds={"options": "dict", "rows": "int"},
            ).interface,
            (
                ("all", ListOf((Channel("First", "examples"), Channel("second_one", "examples")))),
                ("one", Channel("First", "examples")),
            ),
            (
                ("options", MapOf(tuple((p.name, Parameter(p.name)) for p in parameters))),
                ("rows", Channel("First", "rows")),
            ),
        ),
        make_step(
            "Read",
            arguments={"pattern": Const("s3://data/*.csv"), "name": Channel("First", "name")},
            kinds={"pattern": "files", "name": "str"},
        ),
        make_step("Ask", outputs=("model",), place="driver"),
    )
    return make_plan(*steps, name="every_port", parameters=parameters)


def documents(text: str) -> list[Any]:
    import yaml

    return list(yaml.safe_load_all(text))
