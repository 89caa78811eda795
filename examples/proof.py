"""What the examples' proofs share: the last run of a pipeline, and a fresh Python that asks the model it pushed."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.pipelines import storage
from headrace.pipelines.runs import Run, read_run
from headrace.pipelines.store import Store

_BEFORE = """
import json, sys
import tensorflow as tf

signatures = tf.saved_model.load(sys.argv[1]).signatures
sent = json.load(sys.stdin)
"""

_AFTER = """
ours = sorted(name for name in sys.modules if name.partition(".")[0] in ("headrace", "examples"))
print(json.dumps({"answer": answer, "ours": ours}))
"""

_PREDICT = """
serve = signatures["serving_default"]
wanted = serve.structured_input_signature[1]

def predict(fields):
    outputs = serve(**{name: tf.constant([fields[name]], spec.dtype) for name, spec in wanted.items()})
    [probability] = outputs.values()
    return float(probability.numpy().ravel()[0])

answer = {"probabilities": [predict(fields) for fields in sent], "inputs": sorted(wanted)}
"""


def ask(saved_model: str, client: str, sent: Any) -> Any:
    """Runs a client in a fresh, isolated Python, as a serving team would: it has TensorFlow and nothing of ours.

    Args:
        saved_model: Folder with `saved_model.pb`.
        client: Python that takes the model's `signatures` and what was `sent`, and sets `answer`.
        sent: What the client is given, as JSON carries it.

    Returns:
        The client's `answer`.

    Raises:
        SystemExit: The model could not be served, or the client imported modules of ours.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-c", _BEFORE + client + _AFTER, saved_model],
        input=json.dumps(sent),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the pushed model could not be served:\n{done.stderr[-2000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    if told["ours"]:
        raise SystemExit(f"the client imported {told['ours']}: the model needs more than TensorFlow")
    return told["answer"]


def predict(saved_model: str, rows: list[dict[str, Any]]) -> tuple[list[float], list[str]]:
    """The one probability that `serving_default` gives for each row of raw fields, and the fields that it asks for."""
    answer = ask(saved_model, _PREDICT, rows)
    return answer["probabilities"], answer["inputs"]


def prove(pipeline: str, title: str, show: Callable[[Run, str], None]) -> int:
    """A proof's command: finds what the last run of the pipeline pushed, shows it, and tells where it is.

    Args:
        pipeline: The pipeline's name.
        title: The command's description.
        show: Takes the run and the folder of the pushed SavedModel, and prints the proof.

    Returns:
        The exit code: 0, 2 if there is no such run, 3 if it pushed no model.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--root", default=str(Path(__file__).parents[1] / ".headrace"), help="the pipeline root")
    root = storage.normalize(parser.parse_args().root)
    with Store.open(str(Path(root) / "store.db"), create=False) as store:
        [latest] = store.runs(1, pipeline=pipeline) or [None]
        if latest is None:
            print(f"no run of {pipeline} in {root}: headrace run examples/{pipeline}/pipeline.py", file=sys.stderr)
            return 2
        run = read_run(store, latest.id)
        pushed = run["Pusher"].outputs.get("pushed_model")
        if pushed is None:
            why = run["Pusher"].refusal or run["Pusher"].state.value
            print(f"run {run.id} pushed no model: {why}", file=sys.stderr)
            return 3
        folder = pushed.properties["destination"]
        show(run, folder)
    print(f"\nmodel   {folder}")
    print(f"report  {Path(run.folder) / 'report.html'}")
    return 0
