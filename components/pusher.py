"""Pusher: puts a blessed model where a model server looks for it."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from headrace.components.gates import GATES, SWITCHED_OFF, gates_fit, with_gates
from headrace.components.push_record import RECEIPT, SCHEMA, made_from, schema_text
from headrace.pipelines import (
    Blessing,
    InfraBlessing,
    Input,
    Model,
    Output,
    PushedModel,
    SkewBlessing,
    component,
    step_context,
    storage,
)
from headrace.pipelines.errors import DataError


@dataclass(frozen=True)
class Filesystem:
    """A folder or URL under which each version is a folder named by an increasing integer.

    Args:
        base_directory: What the model server watches, such as ``serving/flights``.
    """

    base_directory: str


class Pushed(NamedTuple):
    """Whether the model was pushed, as which version, and why or why not."""

    pushed: bool
    version: int
    verdict: str


def _arguments_fit(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if given.get("model_blessing") is None and not given.get("without_blessing"):
        yield (
            "expected a model_blessing, received none: a model nobody evaluated is not pushed",
            "pass model_blessing=evaluator.outputs['blessing'], or say without_blessing=True",
        )
    yield from gates_fit(given)


@component(imports=("headrace.transforms.schema",), check=_arguments_fit, complete=with_gates)
def Pusher(
    model: Input[Model],
    pushed_model: Output[PushedModel],
    model_blessing: Input[Blessing] | None = None,
    infra_blessing: Input[InfraBlessing] | None = None,
    skew_blessing: Input[SkewBlessing] | None = None,
    *,
    push_destination: Filesystem,
    without_blessing: bool = False,
    infra_gate: bool = True,
    skew_gate: bool = True,
    gates_left_out: dict[str, str] | None = None,
) -> Pushed:
    """Pushes a model to `<base_directory>/<version>/saved_model.pb`, where it appears whole or not at all.

    The version is one more than the largest there is. A model that is the newest version already is not pushed again;
    one that is no longer, because another was pushed since, is: what a run pushes is what is served after it. Where a
    blessing says no, nothing is pushed and the run's exit code is 3.

    A Pusher that is given no `infra_blessing` gets an InfraValidator when the pipeline is built, one that is given no
    `skew_blessing` a SkewValidator: steps like any others, bound to the model and to the rows it was trained on. What
    was pushed says in `assets.extra/headrace.json` what each gate said, or that it was switched off or left out, and
    from which artifacts, runs and code the model was made; `schema.pbtxt` beside it is the schema without the values
    of sensitive columns. `headrace model show` reads both.

    Args:
        model: The exported model.
        pushed_model: Where it went.
        model_blessing: The Evaluator's verdict.
        infra_blessing: The InfraValidator's verdict, if there is one.
        skew_blessing: The verdict of the comparison of serving with training, if there is one.
        push_destination: Where to.
        without_blessing: Push although no Evaluator was asked; the artifact records it.
        infra_gate: False to push without an InfraValidator; the artifact records it.
        skew_gate: False to push without a SkewValidator; the artifact records it.
        gates_left_out: Why a gate could not be added, by "infra" or "skew"; written when the pipeline is built.

    Raises:
        DataError: The destination cannot be written, or the model is no SavedModel.

    >>> Pusher(                                                          # doctest: +SKIP
    ...     model=trainer.outputs["model"],
    ...     model_blessing=evaluator.outputs["blessing"],
    ...     push_destination=Filesystem("serving/flights"),
    ... )
    """
    context = step_context()
    given = (model_blessing, infra_blessing, skew_blessing)
    if refusals := [blessing.reason for blessing in given if blessing is not None and not blessing.blessed]:
        context.refuse("; ".join(refusals))
        return Pushed(False, 0, "; ".join(refusals))
    left_out = gates_left_out or {}
    for gate, why in left_out.items():
        context.warn(f"pushed without the {gate} gate: {why}")
    verdict = model_blessing.reason if model_blessing is not None else "pushed without a blessing, as the pipeline says"
    if model_blessing is None:
        context.warn(verdict)
    base = storage.normalize(push_destination.base_directory)
    receipt = {
        "model": model.digest,
        "run": context.run,
        "pipeline": context.pipeline,
        "blessed": model_blessing is not None,
        "gates": {
            gate: _gate_said(blessing, wanted, left_out.get(gate, ""))
            for gate, blessing, wanted in zip(GATES, (infra_blessing, skew_blessing), (infra_gate, skew_gate))
        },
    }
    versions = _versions(base)
    version = versions[-1] if versions and _holds(base, versions[-1], model.digest) else 0
    if not version:
        if not (model.saved_model_path / "saved_model.pb").exists():
            raise DataError("expected a SavedModel, found none: a model server cannot load it", file=model.uri)
        beside = {RECEIPT: _json({**receipt, "verdict": verdict, "made": made_from(model)})}
        if (schema := schema_text(model)) is not None:
            beside[SCHEMA] = schema
        try:
            version = _push(model.saved_model_path, base, (versions[-1] if versions else 0) + 1, beside, model.digest)
        except OSError as error:
            what = f"the push destination cannot be written: {error.strerror or error}"
            raise DataError(what, "give a base_directory you may write to", file=base) from error
    pushed_model.destination = storage.join(base, str(version))
    pushed_model.version = version
    pushed_model.link(model=model)
    pushed_model.write({**receipt, "version": version, "destination": pushed_model.destination, "verdict": verdict})
    return Pushed(True, version, verdict)


def _gate_said(blessing: InfraBlessing | SkewBlessing | None, wanted: bool, left_out: str) -> dict[str, Any]:
    """What the record of a pushed model says of a gate."""
    if blessing is not None:
        return {"passed": True, "reason": blessing.reason}
    why = f"left out: {left_out}" if left_out else "none was given" if wanted else SWITCHED_OFF
    return {"passed": False, "reason": why}


def _versions(base: str) -> list[int]:
    """The versions at a destination, ascending."""
    return sorted({int(name) for name in storage.names_in(base) if name.isdigit()})


def _holds(base: str, version: int, model: str) -> bool:
    """Whether a version is whole and was made from the model with this digest."""
    place = storage.join(base, str(version), RECEIPT)
    if not storage.exists(place) or not storage.exists(storage.join(base, str(version), "saved_model.pb")):
        return False
    return bool(json.loads(storage.read_bytes(place)).get("model") == model)


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode()


def _push(saved_model: Path, base: str, version: int, beside: Mapping[str, bytes], model: str) -> int:
    if storage.is_local(base):
        return _push_by_rename(saved_model, storage.local_path(base), version, beside, model)
    target = storage.join(base, str(version))
    for path in sorted(saved_model.rglob("*"), key=lambda path: (path.name == "saved_model.pb", path)):
        if path.is_file() and path.name != "saved_model.pb":
            storage.write_bytes(storage.join(target, path.relative_to(saved_model).as_posix()), path.read_bytes())
    for name, data in beside.items():
        storage.write_bytes(storage.join(target, name), data)
    # A server takes a version for one when its saved_model.pb is there: it goes last.
    storage.write_bytes(storage.join(target, "saved_model.pb"), (saved_model / "saved_model.pb").read_bytes())
    return version


def _push_by_rename(saved_model: Path, base: Path, version: int, beside: Mapping[str, bytes], model: str) -> int:
    """Copies beside the versions, then renames: another push that took the number first moves this one to the next,
    unless it was of the same model."""
    base.mkdir(parents=True, exist_ok=True)
    draft = base / f".pushing-{uuid.uuid4().hex}"
    try:
        shutil.copytree(saved_model, draft)
        for name, data in beside.items():
            (draft / name).parent.mkdir(exist_ok=True)
            (draft / name).write_bytes(data)
        while True:
            try:
                draft.rename(base / str(version))
                return version
            except OSError:
                if not (base / str(version)).exists():
                    raise
                if _holds(str(base), version, model):
                    return version
                version += 1
    finally:
        shutil.rmtree(draft, ignore_errors=True)
