"""A fresh process with TensorFlow alone, to which rows are sent."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from headrace.components.skew import probe
from headrace.components.skew.probe import arrays_file
from headrace.transforms.serving.loaded_model import message_of

BATCH = 512

Answers = dict[str, dict[str, dict[str, np.ndarray]]]


class ServingFailed(Exception):
    """The SavedModel cannot be loaded, or a signature cannot be called, by TensorFlow alone."""


@dataclass(frozen=True)
class Call:
    """What is sent to a signature.

    Args:
        name: The signature.
        feeds: All rows, by the tensor of the graph that takes them.
        fetches: The tensors of the graph that it gives, by output.
    """

    name: str
    feeds: Mapping[str, np.ndarray]
    fetches: Mapping[str, str]


def ask(saved_model: Path, calls: Sequence[Call], single: Sequence[int], scratch: Path) -> Answers:
    """Sends rows to signatures.

    Args:
        saved_model: The SavedModel's folder.
        calls: What is sent to which; the same number of rows to each.
        single: Positions of rows that are also sent one by one.
        scratch: A folder for the messages.

    Returns:
        By signature, for ``"batches"`` (all rows) and ``"single"``, the outputs by name.

    Raises:
        ServingFailed: With what TensorFlow said.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    request, arrays, response, answers = (
        scratch / name for name in ("request.json", "request.npz", "response.json", "response.npz")
    )
    rows = {len(values) for call in calls for values in call.feeds.values()}
    asked = {
        "packages": _packages("numpy", "tensorflow"),
        "saved_model": str(saved_model),
        "rows": rows.pop() if rows else 0,
        "single": list(single),
        "batch": BATCH,
        "calls": [
            {
                "name": call.name,
                "feeds": {tensor: f"{number}/{tensor}" for tensor in call.feeds},
                "fetches": call.fetches,
            }
            for number, call in enumerate(calls)
        ],
    }
    request.write_text(json.dumps(asked), encoding="utf-8")
    sent = {f"{number}/{tensor}": values for number, call in enumerate(calls) for tensor, values in call.feeds.items()}
    arrays_file.write(str(arrays), sent)
    program = Path(probe.__file__).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(program), *map(str, (request, arrays, response, answers))],
        # As a server on a machine without an accelerator; the training may be using the one that there is.
        env=environment | {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stderr, file=sys.stderr, end="")
    if done.returncode != 0:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise ServingFailed(
            f"its process ended with status {done.returncode}: {lines[-1] if lines else 'it said nothing'}"
        )
    if error := json.loads(response.read_text(encoding="utf-8"))["error"]:
        raise ServingFailed(message_of(ServingFailed(error)))
    found = arrays_file.read(str(answers))
    made: Answers = {call.name: {"batches": {}, "single": {}} for call in calls}
    for key, values in found.items():
        signature, how, output = key.split("/", 2)
        made[signature][how][output] = values
    return made


def _packages(*names: str) -> list[str]:
    """The folders in which packages are installed."""
    found = [importlib.util.find_spec(name) for name in names]
    return sorted({str(Path(spec.origin).parents[1]) for spec in found if spec is not None and spec.origin is not None})
