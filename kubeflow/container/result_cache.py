"""The cache in the pipeline root: what a step made once under a key is taken again by every later run.

KFP and Argo skip a step whose document, parameters and input digests they have seen. This cache is behind theirs: it
knows what they cannot, such as which files a pattern means now, and it serves both from one root.
"""

from __future__ import annotations

from dataclasses import replace

from headrace.kubeflow.container.references import below_root, is_live, under_root
from headrace.pipelines import storage
from headrace.pipelines.execution import StepResult

# What may be taken again; what was rejected must be looked at again, and stop that run as well.
REUSABLE = ("succeeded", "refused")


def cache_entry(root: str, pipeline: str, key: str) -> str:
    """Where the result under a key is kept."""
    return storage.join(root, pipeline, "cache", f"{key}.json")


def lookup(root: str, pipeline: str, key: str) -> StepResult | None:
    """The result under a key whose artifacts are all still there, or None."""
    try:
        text = storage.read_bytes(cache_entry(root, pipeline, key)).decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    result = StepResult.from_json(text)
    outputs = {name: under_root(record, root) for name, record in result.outputs.items()}
    return replace(result, outputs=outputs) if all(is_live(record) for record in outputs.values()) else None


def remember(root: str, pipeline: str, key: str, result: StepResult) -> None:
    """Keeps a result, if it is one that may be taken again."""
    if result.state in REUSABLE:
        outputs = {name: below_root(record, root) for name, record in result.outputs.items()}
        kept = replace(result, outputs=outputs)
        storage.write_bytes(cache_entry(root, pipeline, key), kept.to_json().encode())
