"""The check of a model in its server: what is sent, what an answer must be, and the budgets."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.components.client_rows import ClientRows, Instance
from headrace.components.infra.server_process import NAME, HttpServer, ServerFailed, ServerProcess
from headrace.pipelines.errors import DataError

if TYPE_CHECKING:
    from headrace.transforms.serving.signatures import Signature

# How two answers to the same row may differ: a batch is computed by other kernels than one row.
ABSOLUTE, RELATIVE = 1e-5, 1e-4
BATCHES = (2, 7, 50)
# Features may be NaN: the model sees to them. Predictions may not.
_FEATURES = "transform_features"


@dataclass(frozen=True)
class Budgets:
    """What is allowed; None for no limit.

    Args:
        latency_p99_ms: Milliseconds of a request of one row, at the 99th percentile.
        memory_mb: MiB that the server holds at most.
        load_seconds: Seconds to load.
    """

    latency_p99_ms: float | None = None
    memory_mb: float | None = None
    load_seconds: float = 120.0


@dataclass(frozen=True)
class Verdict:
    """Whether the model may be pushed.

    Args:
        blessed: Whether it may.
        reason: One sentence; the same for two runs that end well.
        measured: What was measured, by name.
    """

    blessed: bool
    reason: str
    measured: dict[str, float] = field(default_factory=dict)


class Sent(NamedTuple):
    """A signature, and the rows that it is sent."""

    signature: Signature
    rows: list[Instance]


class Refused(Exception):
    """The model fails a check; the message is the reason."""


def check_model(
    saved_model: Path,
    rows: ClientRows | None,
    budgets: Budgets,
    *,
    signatures: Sequence[str] | None = None,
    image: str | None = None,
) -> Verdict:
    """Serves a model and checks its answers.

    Args:
        saved_model: The SavedModel's folder.
        rows: What to send; one row of what the signatures say if None.
        budgets: What is allowed.
        signatures: The signatures to ask; those for which there are rows if None.
        image: An image of TensorFlow Serving to serve it with; the server of `headrace serve` if None.

    Raises:
        DataError: The model has no such signature, or Docker cannot run the image.
    """
    measured: dict[str, float] = {}
    try:
        sent = _requests(saved_model, rows, signatures, complete=image is not None)
        with _server(saved_model, image, budgets.load_seconds) as server:
            protocols = server.protocols
            measured["load_seconds"] = round(server.load_seconds, 2)
            _check_status(server)
            times = [taken for asked in sent.values() for taken in check_signature(server, asked)]
            measured["p50_ms"], measured["p99_ms"] = percentile(times, 0.5), percentile(times, 0.99)
            measured["memory_mb"] = round(server.peak_memory_mb(), 1)
        check_budgets(measured, budgets)
    except ServerFailed as error:
        return Verdict(False, f"infrastructure: the model {error}", measured)
    except Refused as error:
        return Verdict(False, f"infrastructure: {error}", measured)
    return Verdict(True, _praise(sent, budgets, protocols), measured)


def _server(saved_model: Path, image: str | None, load_seconds: float) -> HttpServer:
    if image is None:
        return ServerProcess(saved_model, load_seconds)
    from headrace.components.infra.serving_container import ServingContainer

    return ServingContainer(saved_model, image, load_seconds)


def _requests(
    saved_model: Path, rows: ClientRows | None, asked: Sequence[str] | None, *, complete: bool
) -> dict[str, Sent]:
    """What to send to each signature."""
    from headrace.transforms.serving.signatures import read_saved_model

    try:
        signatures = read_saved_model(saved_model).signatures
    except (FileNotFoundError, ValueError) as error:
        raise Refused(str(error)) from error
    if unknown := [name for name in asked or () if name not in signatures]:
        raise DataError(f"signatures= names {unknown[0]!r}; the model has {', '.join(signatures)}")
    sent: dict[str, Sent] = {}
    for name, signature in signatures.items():
        if name in (asked or signatures) and not signature.unsupported:
            found = _rows_for(signature, signatures, rows, complete)
            if found is not None:
                sent[name] = Sent(signature, found)
            elif asked or name == "serving_default":
                lacking = [key for key in signature.inputs if rows is not None and key not in rows.columns()]
                raise Refused(f"{name} takes the column {lacking[0]!r}, which the examples lack")
    if not sent:
        raise Refused(f"none of the model's signatures can be called: it has {', '.join(signatures) or 'none'}")
    return sent


def _rows_for(
    signature: Signature, signatures: Mapping[str, Signature], rows: ClientRows | None, complete: bool
) -> list[Instance] | None:
    from headrace.transforms.serving.domains import Domain, example_of
    from headrace.transforms.serving.examples import serialized_example
    from headrace.transforms.serving.json_tensors import text_of
    from headrace.transforms.serving.model_card import takes_examples

    default = signatures.get("serving_default")
    if takes_examples(signature):
        if rows is not None:
            raw = rows.raw()
        elif default is not None:
            raw = [{name: example_of(tensor, Domain()) for name, tensor in default.inputs.items()}]
        else:
            return None
        only = next(iter(signature.inputs))
        return [{only: text_of(serialized_example({}, "", row, "example"), as_bytes=True)} for row in raw]
    if rows is None:
        return [{name: example_of(tensor, Domain()) for name, tensor in signature.inputs.items()}]
    if any(name not in rows.columns() and name not in signature.optional for name in signature.inputs):
        return None
    return rows.of(signature, complete=complete)


def _check_status(server: HttpServer) -> None:
    status, found, _ = server.ask("GET", f"/v1/models/{NAME}")
    if status != 200 or found["model_version_status"][0]["state"] != "AVAILABLE":
        raise Refused(f"the server does not say that the model is available: {found}")
    if "KServe v2" in server.protocols and server.ask("GET", "/v2/health/ready")[0] != 200:
        raise Refused("the server does not say that it is ready (KServe v2)")


def check_signature(server: HttpServer, sent: Sent) -> list[float]:
    """Sends the rows one by one, then in batches, then over the other protocol.

    Returns:
        Milliseconds of each row sent by itself.

    Raises:
        Refused: An answer is lacking, not finite, or another than that to the same row sent otherwise.
    """
    name, rows = sent.signature.name, sent.rows
    alone: list[Any] = []
    times = []
    for number, row in enumerate(rows):
        found, taken = _predict(server, name, [row], f"row {number}")
        _check_finite(name, found[0], number)
        alone += found
        times.append(taken)
    for size in (*BATCHES, len(rows)):
        for start in range(0, min(len(rows), 4 * size), size):
            part = rows[start : start + size]
            found, _ = _predict(server, name, part, f"rows {start} to {start + len(part) - 1}")
            for number, (one, other) in enumerate(zip(alone[start:], found), start):
                _check_same(name, number, one, other, "alone", f"in a batch of {len(part)}")
    for number in range(min(len(rows), 20) if "KServe v2" in server.protocols else 0):
        _check_same(name, number, alone[number], _infer(server, sent, number), "over REST", "over KServe v2")
    return times


def _predict(server: HttpServer, name: str, rows: Sequence[Instance], which: str) -> tuple[list[Any], float]:
    body = {"signature_name": name, "instances": list(rows)}
    status, found, taken = server.ask("POST", f"/v1/models/{NAME}:predict", body)
    if status != 200:
        raise Refused(f"{name} gives {status} for {which}: {found.get('error', found)}")
    predictions = found["predictions"]
    if len(predictions) != len(rows):
        raise Refused(f"{name} gives {len(predictions)} answers for {which}, expected {len(rows)}")
    return predictions, taken


def _infer(server: HttpServer, sent: Sent, number: int) -> Any:
    """The answer over KServe v2, in the form of the other protocol's."""
    from headrace.transforms.serving.samples import kserve_document

    name = sent.signature.name
    body = kserve_document(sent.signature, sent.rows[number])
    status, found, _ = server.ask("POST", f"/v2/models/{NAME}/infer", body)
    if status != 200:
        raise Refused(f"{name} gives {status} over KServe v2 for row {number}: {found.get('error', found)}")
    outputs = {one["name"]: _as_rest(one) for one in found["outputs"]}
    return outputs if len(outputs) > 1 else next(iter(outputs.values()))


def _as_rest(tensor: Mapping[str, Any]) -> Any:
    """The one row of a KServe v2 tensor as the other protocol writes it."""
    values = list(tensor["data"])
    if tensor.get("parameters", {}).get("content_type") == "base64":
        values = [{"b64": value} for value in values]
    elif tensor["name"].endswith("_bytes") and tensor["datatype"] == "BYTES":
        values = [{"b64": base64.b64encode(value.encode()).decode()} for value in values]
    for size in reversed(tensor["shape"][1:]):
        values = [values[start : start + size] for start in range(0, len(values), size)] if size else [[]]
    return values[0]


def _check_finite(name: str, answer: Any, number: int) -> None:
    if name == _FEATURES:
        return
    for place, value in _leaves(answer):
        if isinstance(value, float) and not math.isfinite(value):
            raise Refused(
                f"{name} gives {value}{f' for {place}' if place else ''} of row {number}: not a finite number"
            )


def _check_same(name: str, number: int, one: Any, other: Any, how: str, otherwise: str) -> None:
    left, right = list(_leaves(one)), list(_leaves(other))
    if [place for place, _ in left] != [place for place, _ in right]:
        raise Refused(f"{name} gives answers of two forms for row {number}: {one} {how}, {other} {otherwise}")
    for (place, a), (_, b) in zip(left, right):
        if not _close(a, b):
            what = f" of {place}" if place else ""
            raise Refused(f"{name} gives{what} for row {number} {a!r} {how}, {b!r} {otherwise}")


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= ABSOLUTE + RELATIVE * abs(a)
    return bool(a == b)


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and "b64" not in value:
        for key, one in sorted(value.items()):
            yield from _leaves(one, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _leaves(one, f"{place}[{index}]")
    else:
        yield place, value


def check_budgets(measured: Mapping[str, float], budgets: Budgets) -> None:
    """Raises Refused, with both figures, for a budget that what was measured exceeds."""
    limit = budgets.latency_p99_ms
    if limit is not None and measured["p99_ms"] > limit:
        raise Refused(
            f"a request of one row takes {measured['p99_ms']:.1f} ms at the 99th percentile; allowed are {limit:g}"
        )
    limit = budgets.memory_mb
    if limit is not None and measured["memory_mb"] > limit:
        raise Refused(f"the server holds up to {measured['memory_mb']:,.0f} MiB; allowed are {limit:,g}")


def _praise(sent: Mapping[str, Sent], budgets: Budgets, protocols: Sequence[str]) -> str:
    rows = max(len(one.rows) for one in sent.values())
    answers = f"answers {rows} row{'s' * (rows > 1)} over {' and '.join(protocols)} in {', '.join(sent)}"
    text = f"loads in a fresh server and {answers}"
    if budgets.latency_p99_ms is not None:
        text += f"; p99 within {budgets.latency_p99_ms:g} ms"
    if budgets.memory_mb is not None:
        text += f"; memory within {budgets.memory_mb:g} MiB"
    return text


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so great a share of them does not exceed (nearest rank).

    >>> percentile([1, 2, 3, 4], 0.5)
    2
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
