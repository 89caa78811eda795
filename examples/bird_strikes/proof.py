"""Proof that the pushed model serves: a fresh Python with TensorFlow alone sends it raw fields, all of them and fewer.

    python -m examples.bird_strikes.proof

Prints the prediction for one report, for the same report without its remarks, without its table, and with nothing; then
what text and table add on the reports of 1996 to 1999, from the run that pushed the model.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from headrace.pipelines.runs import Run

from examples.bird_strikes.reports import NUMBERS, TABLE, TEXT
from examples.proof import predict, prove

# Made up, in the manner of the reports: a jet meets geese as it climbs.
REPORT: dict[str, Any] = {
    "remarks": "STRUCK SEVERAL GEESE. #2 ENG VIBRATION. RETD AND LANDED WITHOUT INCIDENT. 3 FAN BLADES BENT.",
    "opid": "UAL",
    "atype": "B-737-300",
    "phase_of_flt": "Climb",
    "time_of_day": "Dawn",
    "state": "CO",
    "sky": "Overcast",
    "species": "CANADA GOOSE",
    "birds_seen": "2-10",
    "birds_struck": "2-10",
    "ac_mass": 4.0,
    "num_engs": 2.0,
    "height": 900.0,
    "speed": 160.0,
    "month": 10.0,
}


def without(columns: list[str]) -> dict[str, Any]:
    """The report with some columns missing: NaN for a number, no letters for a text."""
    return {**REPORT, **{name: math.nan if name in NUMBERS else "" for name in columns}}


def ablation_lines(run: Run) -> list[str]:
    """The AUC of each model, and how far it is from that of both, with the bootstrap's interval."""
    lines = [f"  {'given':26} {'auc':>6}  change from both"]
    for step, alone in (("against_text", "text alone, trained so"), ("against_table", "table alone, trained so")):
        [output] = run[step].outputs["evaluation"].read()["ablation"]["outputs"].values()
        entries = [(f"both, {one['modality']} withheld", one) for one in output["withheld"]]
        entries = [("both", output["complete"]), *entries] if step == "against_text" else []
        for name, one in [*entries, (alone, output["baseline"])]:
            change = one["change"].get("auc")
            shown = "" if change is None else "{value:+.3f} ({lower:+.3f} to {upper:+.3f})".format(**change)
            lines.append(f"  {name:26} {one['metrics']['auc']['value']:>6.3f}  {shown}".rstrip())
    return lines


def show(run: Run, saved_model: str) -> None:
    """Prints the predictions for `REPORT` and for less of it, and what each modality adds."""
    lines = ablation_lines(run)
    missing: dict[str, list[str]] = {"all fields": []}
    missing |= {"no remarks": TEXT, "remarks only": TABLE, "nothing": [*TEXT, *TABLE]}
    probabilities, _ = predict(saved_model, [without(columns) for columns in missing.values()])
    print("a flight changed by geese, from raw fields, in a fresh Python with TensorFlow only:")
    for name, probability in zip(missing, probabilities):
        print(f"  {name:26} {probability:>6.1%}")
    print("\non the reports of 1996 to 1999:")
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(prove("bird_strikes", __doc__.splitlines()[0], show))
