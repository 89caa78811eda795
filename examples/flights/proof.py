"""Proof that the pushed model serves: a fresh Python with TensorFlow alone sends it raw fields.

    python -m examples.flights.proof

Prints the prediction for one flight, the metrics by carrier of the run that pushed the model, and where its report is.
"""

from __future__ import annotations

import sys
from typing import Any

from headrace.pipelines.runs import Run

from examples.proof import predict, prove

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


def show(run: Run, saved_model: str) -> None:
    """Prints the prediction for `FLIGHT` and the metrics by carrier."""
    lines = carrier_lines(run)
    [probability], fields = predict(saved_model, [FLIGHT])
    route = f"{FLIGHT['carrier']} {FLIGHT['origin']} -> {FLIGHT['dest']} at {FLIGHT['sched_dep_time']}"
    print(f"\n{route}, from {len(fields)} raw fields, in a fresh Python with TensorFlow only:")
    print(f"  {probability:.1%} to arrive 15 minutes late or more")
    print("\nmetrics on October to December:")
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(prove("flights", __doc__.splitlines()[0], show))
