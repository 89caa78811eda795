"""Proof that the pushed model serves: a fresh Python with TensorFlow alone sends it raw fields.

    python -m examples.flights.proof

Prints the prediction for one flight, the metrics by carrier of the run that pushed the model, and where its report is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from headrace.pipelines import storage
from headrace.pipelines.runs import Run, read_run
from headrace.pipelines.store import Store

# A Friday evening in July, New York to Chicago, with a thunderstorm about. The destination's coordinates are those of
# its airport.
FLIGHT: dict[str, Any] = {
    "weekday": 5,
    "sched_dep_time": 1829,
    "sched_arr_time": 2015,
    "carrier": "EV",
    "origin": "LGA",
    "dest": "ORD",
    "distance": 733,
    "origin_lat": 40.777245,
    "origin_lon": -73.872608,
    "dest_lat": 41.978603,
    "dest_lon": -87.904842,
    "temp": 84.0,
    "dewp": 70.0,
    "humid": 62.9,
    "wind_dir": 200,
    "wind_speed": 18.4,
    "wind_gust": 28.8,
    "precip": 0.12,
    "pressure": 1008.1,
    "visib": 4.0,
}

CLIENT = """
import json, sys
import tensorflow as tf

folder, fields = sys.argv[1], json.loads(sys.argv[2])
serve = tf.saved_model.load(folder).signatures["serving_default"]
wanted = serve.structured_input_signature[1]
outputs = serve(**{name: tf.constant([fields[name]], spec.dtype) for name, spec in wanted.items()})
ours = sorted(name for name in sys.modules if name.partition(".")[0] in ("headrace", "examples"))
found = {name: value.numpy().ravel().tolist() for name, value in outputs.items()}
print(json.dumps({"outputs": found, "inputs": sorted(wanted), "ours": ours}))
"""


def predict(saved_model: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Calls a SavedModel in a fresh, isolated Python, as a serving team would.

    Args:
        saved_model: Folder with `saved_model.pb`.
        fields: Raw field -> value.

    Returns:
        `outputs` by name, the `inputs` that were asked for, and which of Headrace's modules were imported (none).
    """
    done = subprocess.run(
        [sys.executable, "-I", "-c", CLIENT, saved_model, json.dumps(fields)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the pushed model could not be served:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def carrier_lines(run: Run) -> list[str]:
    """The metrics over all and of each carrier, the largest first, beside what the best constant reaches."""
    evaluation = run["Evaluator"].outputs["evaluation"].read()
    [output] = evaluation["outputs"].values()
    constant = output["quantities"]["log_loss"]["constant"]
    lines = [f"  {'carrier':8} {'flights':>8} {'auc':>8} {'log loss':>9} {'constant':>9}"]
    for entry in [output["overall"], *(entry for entry in output["slices"] if entry["by"] == ["carrier"])]:
        values = [entry["metrics"][name]["value"] for name in ("auc", "log_loss", constant)]
        shown = "".join(
            f" {value:>{width}.4f}" if value is not None else f" {'-':>{width}}"
            for value, width in zip(values, (8, 9, 9))
        )
        name = entry["slice"].get("carrier", "all")
        lines.append(f"  {name:8} {entry['count']:>8,}{shown}{'  few rows' if entry['few_rows'] else ''}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--root", default=str(Path(__file__).parents[2] / ".headrace"), help="the pipeline root")
    root = storage.normalize(parser.parse_args().root)
    with Store.open(str(Path(root) / "store.db"), create=False) as store:
        run = read_run(store, "latest")
        pushed = run["Pusher"].outputs.get("pushed_model")
        if pushed is None:
            print(
                f"run {run.id} pushed no model: {run['Pusher'].refusal or run['Pusher'].state.value}", file=sys.stderr
            )
            return 3
        lines = carrier_lines(run)
    answer = predict(pushed.properties["destination"], FLIGHT)
    if answer["ours"]:
        print(f"the client imported {answer['ours']}: the model needs more than TensorFlow", file=sys.stderr)
        return 1
    [probability] = next(iter(answer["outputs"].values()))
    route = f"{FLIGHT['carrier']} {FLIGHT['origin']} -> {FLIGHT['dest']} at {FLIGHT['sched_dep_time']}"
    print(f"\n{route}, from {len(answer['inputs'])} raw fields, in a fresh Python with TensorFlow only:")
    print(f"  {probability:.1%} to arrive 15 minutes late or more")
    print("\nmetrics on October to December:")
    print("\n".join(lines))
    print(f"\nmodel   {pushed.properties['destination']}")
    print(f"report  {Path(run.folder) / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
