"""A fresh process with TensorFlow alone, to which rows are sent."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from headrace.components.skew.client_rows import Instance

BATCH = 512
# What a serving process does not have. Keras comes with TensorFlow.
ABSENT = ["headrace", "apache_beam", "pyarrow"]

Answers = dict[str, dict[str, dict[str, np.ndarray]]]


class ServingFailed(Exception):
    """The SavedModel cannot be loaded, or a signature cannot be called, by TensorFlow alone."""


def ask(
    saved_model: Path,
    instances: Sequence[Instance],
    single: Sequence[int],
    defaults: Mapping[str, Mapping[str, Any]],
    dtypes: Mapping[str, str],
    scratch: Path,
) -> Answers:
    """Sends rows to every signature.

    Args:
        saved_model: The SavedModel's folder.
        instances: The rows.
        single: Positions of those that are also sent one by one.
        defaults: By signature, what stands for a missing value of each input that has no NaN or "" for it.
        dtypes: Keras dtype of each column, for tf.Example.
        scratch: A folder for the messages.

    Returns:
        By signature, for ``"batches"`` (all rows) and ``"single"``, the outputs by name.

    Raises:
        ServingFailed: With the last lines of what the process said.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    request, response = scratch / "request.json", scratch / "response.json"
    asked = {
        "saved_model": str(saved_model),
        "instances": list(instances),
        "single": list(single),
        "batch": BATCH,
        "defaults": {name: dict(one) for name, one in defaults.items()},
        "dtypes": dict(dtypes),
        "absent": ABSENT,
    }
    request.write_text(json.dumps(asked), encoding="utf-8")
    program = Path(__file__).with_name("probe.py")
    done = subprocess.run(
        [sys.executable, "-I", str(program), str(request), str(response)], capture_output=True, text=True, check=False
    )
    print(done.stderr, file=sys.stderr, end="")
    if done.returncode != 0:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise ServingFailed(said[-1] if said else f"its process ended with status {done.returncode}")
    answers = json.loads(response.read_text(encoding="utf-8"))
    return {
        signature: {how: {name: _array(one) for name, one in outputs.items()} for how, outputs in sent.items()}
        for signature, sent in answers.items()
    }


def _array(document: Mapping[str, Any]) -> np.ndarray:
    if document["dtype"] == "string":
        values = np.array([base64.b64decode(one) for one in document["values"]], dtype=object)
    else:
        values = np.array(document["values"], dtype=document["dtype"])
    return values.reshape(document["shape"])
