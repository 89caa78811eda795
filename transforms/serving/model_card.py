"""What a SavedModel takes and gives, as `headrace model show` tells it: as a document, and as text."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from headrace.transforms.serving.domains import Domain, domains, example_of, find_schema
from headrace.transforms.serving.model_folder import RemoteFolder, is_url, model_name
from headrace.transforms.serving.samples import examples_sample, kserve_sample, python_sample, rest_sample
from headrace.transforms.serving.signatures import DEFAULT_SIGNATURE, Signature, TensorInfo, read_saved_model

RECEIPT = Path("assets.extra") / "headrace.json"
OPTIONAL = (
    "may be left out over `headrace serve` and over TensorFlow Serving's gRPC; TensorFlow Serving's REST protocol asks "
    "for every input, and a direct Python call must pass it"
)
# An input by one of these names, alone and of strings, takes a serialized tf.Example.
_EXAMPLES = ("examples", "inputs", "example", "serialized")


def resolve(path: Path) -> Path:
    """The SavedModel that is meant: itself, the highest version of a base folder, or the one in a Model artifact.

    Raises:
        FileNotFoundError: There is none.
    """
    versions = sorted((one for one in path.glob("*") if one.name.isdigit()), key=lambda one: -int(one.name))
    for folder in (path, path / "serving", path / "saved_model", *versions):
        if (folder / "saved_model.pb").is_file():
            return folder
    raise FileNotFoundError(
        f"expected a SavedModel, a folder of versions or a Model artifact, found no saved_model.pb in {path}"
    )


@contextlib.contextmanager
def at_hand(place: str | Path) -> Iterator[tuple[Path, str]]:
    """The SavedModel that is meant on this machine, and where it is.

    Args:
        place: What `resolve` takes; or the fsspec URL of a SavedModel or a folder of versions, the highest of which is
            then copied here, without its weights.

    Raises:
        FileNotFoundError: There is none.
        OSError: The URL cannot be read.
    """
    if not is_url(place):
        folder = resolve(Path(place))
        yield folder, str(folder)
        return
    remote = RemoteFolder(str(place))
    with contextlib.closing(remote):
        versions = remote.versions()
        if not versions:
            raise FileNotFoundError(
                f"expected a SavedModel or a folder of versions, found no saved_model.pb in {place}"
            )
        newest = max(versions)
        yield remote.take(newest, without=("variables", "assets")), remote.url(newest)


def describe(
    path: str | Path, *, name: str | None = None, url: str = "http://localhost:8501", only: str | None = None
) -> dict[str, Any]:
    """Everything that `model show` tells, as JSON.

    Args:
        path: As `at_hand` takes.
        name: The model's name in URLs; the folder's if not given.
        url: The server's, for the sample requests.
        only: The only signature to tell of.

    Raises:
        FileNotFoundError: There is no SavedModel.
        OSError: A URL cannot be read.
        ValueError: It is damaged, its schema is, or it has no such signature.
    """
    with at_hand(path) as (folder, place):
        return _described(folder, place, name or model_name(path), url, only)


def _described(folder: Path, place: str, name: str, url: str, only: str | None) -> dict[str, Any]:
    signatures = read_saved_model(folder).signatures
    if only is not None and only not in signatures:
        raise ValueError(f"{place} has no signature {only!r}; it has {', '.join(signatures) or 'none'}")
    schema = find_schema(folder)
    known = domains(schema)
    version = PurePosixPath(place).name
    raw = _row(signatures[DEFAULT_SIGNATURE], known, None) if DEFAULT_SIGNATURE in signatures else None
    chosen = [one for one in signatures.values() if only in (None, one.name)]
    receipt = folder / RECEIPT
    return {
        "name": name,
        "folder": place,
        "version": int(version) if version.isdigit() else None,
        "schema": str(schema).replace(str(folder), place, 1) if schema else None,
        "made": json.loads(receipt.read_text()) if receipt.is_file() else None,
        "optional": OPTIONAL if any(one.optional for one in chosen) else None,
        "signatures": [_signature(one, known, raw, place, url, name) for one in chosen],
    }


def _row(signature: Signature, known: Mapping[str, Domain], raw: dict[str, Any] | None) -> dict[str, Any]:
    serialized = raw if takes_examples(signature) else None
    return {key: example_of(tensor, known.get(key, Domain()), serialized) for key, tensor in signature.inputs.items()}


def takes_examples(signature: Signature) -> bool:
    """Whether its one input is, by its name, a serialized tf.Example."""
    only = next(iter(signature.inputs.values()), None)
    return only is not None and len(signature.inputs) == 1 and only.dtype.is_string and only.name in _EXAMPLES


def _signature(
    signature: Signature, known: Mapping[str, Domain], raw: dict[str, Any] | None, place: str, url: str, name: str
) -> dict[str, Any]:
    row = _row(signature, known, raw)
    told: dict[str, Any] = {
        "name": signature.name,
        "method": signature.method,
        "inputs": [_input(tensor, known.get(key, Domain()), row[key]) for key, tensor in signature.inputs.items()],
        "outputs": [
            {"name": one.name, "dtype": one.dtype.name, "shape": _shape(one)} for one in signature.outputs.values()
        ],
    }
    if signature.unsupported:
        return told | {"unsupported": signature.unsupported}
    method = signature.method.rpartition("/")[2]
    if method in ("classify", "regress") and raw is not None and takes_examples(signature):
        rest = examples_sample(signature, raw, url, name, method)
    else:
        rest = rest_sample(signature, row, url, name)
    requests = {
        "rest": rest,
        "kserve": kserve_sample(signature, row, url, name),
        "python": python_sample(signature, row, place, name),
    }
    return told | {"requests": requests}


def _input(tensor: TensorInfo, domain: Domain, example: Any) -> dict[str, Any]:
    told = {
        "name": tensor.name,
        "dtype": tensor.dtype.name,
        "shape": _shape(tensor),
        "domain": domain.text or None,
        "example": example,
        "required": tensor.default is None,
    }
    return told if tensor.default is None else told | {"default": _json_value(tensor.row_default().tolist())}


def _json_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_json_value(one) for one in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _shape(tensor: TensorInfo) -> list[int | None] | None:
    return None if tensor.shape is None else list(tensor.shape)


def as_text(card: Mapping[str, Any]) -> str:
    """The document for people."""
    version = "" if card["version"] is None else f", version {card['version']}"
    lines = [f"{card['name']}{version}   {card['folder']}"]
    if card["made"]:
        lines += _made_text(card["made"])
    if card["schema"] is None:
        lines.append("no schema beside it: the domains are not known")
    for signature in card["signatures"]:
        lines += ["", *_signature_text(signature)]
    if card["optional"]:
        lines += ["", f"* {card['optional']}"]
    return "\n".join(lines)


def _made_text(made: Mapping[str, Any]) -> Iterable[str]:
    """Where the model came from, as the Pusher recorded it; records of other makers have other keys."""
    pushed = {key: made[key] for key in ("pipeline", "run") if key in made}
    yield "pushed by " + ", ".join(f"{key} {value}" for key, value in pushed.items())
    lineage, shown = made.get("made", {}), set()
    for one in [lineage.get("model", {}), *lineage.get("made_from", [])]:
        step = f" by {one['step']} in run {one['run']}" if "step" in one else ""
        yield f"  {one.get('as', 'model'):<16} {one.get('type', '')} {str(one.get('digest', ''))[:12]}{step}"
        if step and step not in shown:
            yield from _code_text(one.get("code", {}))
        shown.add(step)
    if "verdict" in made:
        yield f"evaluation: {made['verdict']}"
    for gate, said in made.get("gates", {}).items():
        yield f"{gate} gate: {said['reason']}"


def _code_text(code: Mapping[str, Any]) -> Iterable[str]:
    """What a step ran, which makes several artifacts."""
    if functions := code.get("functions"):
        changed = " with changes" if code.get("changed") else ""
        commit = f", commit {code['commit'][:12]}{changed}" if "commit" in code else ""
        yield f"  {'':<16} code: {', '.join(f'{name} ({digest[:8]})' for name, digest in functions.items())}{commit}"


def _signature_text(signature: Mapping[str, Any]) -> Iterable[str]:
    yield f"{signature['name']}   {signature['method']}"
    heads = ("  input", "type", "shape", "domain", "example", "if left out")
    rows = [
        (
            f"  {one['name']}",
            one["dtype"],
            _shown_shape(one["shape"]),
            one["domain"] or "",
            _cut(json.dumps(one["example"], ensure_ascii=False)),
            "refused" if one["required"] else f"{json.dumps(one['default'], ensure_ascii=False)} *",
        )
        for one in signature["inputs"]
    ]
    yield from _table([heads, *rows])
    outputs = [(f"  {one['name']}", one["dtype"], _shown_shape(one["shape"])) for one in signature["outputs"]]
    yield from _table([("  output", "type", "shape"), *outputs])
    if "unsupported" in signature:
        yield f"  not servable over JSON: its {signature['unsupported']}"
        return
    titles = {
        "rest": "TensorFlow Serving's REST, and headrace serve",
        "kserve": "KServe v2, and headrace serve",
        "python": "Python",
    }
    for key, title in titles.items():
        yield ""
        yield f"# {title}"
        yield signature["requests"][key]


def _shown_shape(shape: Sequence[int | None] | None) -> str:
    """The first dimension that is free is the rows."""
    if shape is None:
        return "[...]"
    names = ["rows" if place == 0 else "any" for place in range(len(shape))]
    return f"[{', '.join(name if size is None else str(size) for name, size in zip(names, shape))}]"


def _cut(text: str, width: int = 40) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _table(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
