"""Thresholds, the verdict and its reason, and the thresholds that cannot fail."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from headrace.transforms.metrics.thresholds import BetterThanConstant, ChangeThreshold, ValueThreshold, asked_slicings
from headrace.transforms.metrics.verdict import decide


def entry(name, by, count, log_loss, auc, constant, baseline=None):
    metrics = {"log_loss": log_loss, "auc": auc, "log_loss_constant": constant, "bias": 0.1}
    return {
        "name": name,
        "by": by,
        "count": count,
        "metrics": {metric: {"value": value} for metric, value in metrics.items()},
        "baseline": baseline and {metric: {"value": value} for metric, value in baseline.items()},
    }


def document(baseline=None):
    quantities = {
        "log_loss": {"lowest": 0, "highest": 16.118, "higher_is_better": False, "constant": "log_loss_constant"},
        "log_loss_constant": {"lowest": 0, "highest": 0.7, "higher_is_better": None, "constant": None},
        "auc": {"lowest": 0, "highest": 1, "higher_is_better": True, "constant": 0.5},
        "bias": {"lowest": None, "highest": None, "higher_is_better": None, "constant": None},
    }
    slices = [
        entry("carrier=UA", ["carrier"], 12345, 0.51, 0.68, 0.55),
        entry("carrier=EV", ["carrier"], 9000, 0.57, 0.66, 0.58),
        entry("carrier=OO", ["carrier"], 7, 0.9, None, 0.3),
    ]
    overall = entry("overall", [], 30000, 0.50, 0.69, 0.54, baseline)
    output = {"quantities": quantities, "overall": overall, "slices": slices}
    return {"baseline": baseline is not None, "outputs": {"late": output}}


def verdict(thresholds, baseline=None):
    return decide(
        document(baseline), {name: one if isinstance(one, list) else [one] for name, one in thresholds.items()}
    )


def test_a_model_that_passes_everything_is_blessed_without_a_warning():
    found = verdict(
        {
            "auc": ValueThreshold(lower=0.65, slices=["overall", "carrier"], rows_above=1000),
            "log_loss": BetterThanConstant(absolute=0.01, slices=["overall", "carrier"], rows_above=1000),
        }
    )
    assert found.blessed and not found.warnings
    assert [check.slice for check in found.checks] == ["overall", "carrier=UA", "carrier=EV"] * 2
    assert found.reason == "auc is 0.69 overall, as expected at least 0.65, and 5 more checks pass"


def test_the_reason_names_metric_slice_value_and_threshold():
    found = verdict({"log_loss": BetterThanConstant(absolute=0.02, slices=["overall", "carrier"], rows_above=1000)})
    assert not found.blessed
    expected = "expected at most 0.56 (the best constant's 0.58 - 0.02)"
    assert found.reason == f"log_loss is 0.57 for carrier=EV (9,000 rows), {expected}"
    several = verdict({"log_loss": ValueThreshold(upper=0.4, slices=["overall", "carrier"])})
    assert several.reason == "log_loss is 0.5 overall, expected at most 0.4; 3 more of 4 checks fail"


def test_a_relative_margin_is_a_share_of_the_constants_value():
    assert verdict({"log_loss": BetterThanConstant(relative=0.07)}).blessed  # 0.54 * 0.93 = 0.5022
    assert not verdict({"log_loss": BetterThanConstant(relative=0.08)}).blessed
    assert not verdict({"auc": BetterThanConstant(absolute=0.2)}).blessed


def test_a_number_that_is_not_defined_does_not_pass():
    found = verdict({"auc": ValueThreshold(lower=0.1, slices=["carrier"])})
    assert not found.blessed
    assert found.reason == "auc is not defined for carrier=OO (7 rows), expected at least 0.1"


@pytest.mark.parametrize(
    ("old", "threshold", "blessed"),
    [
        (0.69, ChangeThreshold(), True),
        (0.70, ChangeThreshold(), False),
        (0.70, ChangeThreshold(absolute=-0.02), True),
        (0.68, ChangeThreshold(absolute=0.02), False),
        (0.60, ChangeThreshold(relative=0.1), True),
        (0.60, ChangeThreshold(relative=0.2), False),
        (0.60, ChangeThreshold(absolute=0.1, relative=0.1), False),  # both margins are asked
        (0.70, ChangeThreshold(higher_is_better=False), True),
    ],
)
def test_change_against_a_baseline(old, threshold, blessed):
    found = verdict({"auc": threshold}, {"auc": old})
    assert found.blessed is blessed
    assert "the baseline's" in found.checks[0].asked


def test_change_of_a_metric_where_less_is_better():
    assert verdict({"log_loss": ChangeThreshold(absolute=0.01)}, {"log_loss": 0.52}).blessed
    assert not verdict({"log_loss": ChangeThreshold(absolute=0.01)}, {"log_loss": 0.505}).blessed


@pytest.mark.parametrize(
    ("thresholds", "warning"),
    [
        (
            {"auc": ValueThreshold(lower=0)},
            "the threshold on auc (at least 0) cannot fail: auc is always between 0 and 1",
        ),
        ({"auc": ValueThreshold(upper=math.inf)}, "the threshold on auc (any value) cannot fail"),
        ({"log_loss": ValueThreshold(upper=100)}, "the threshold on log_loss (at most 100) cannot fail"),
        ({"bias": ValueThreshold()}, "the threshold on bias (any value) cannot fail"),
        (
            {"log_loss": ValueThreshold(upper=0.6)},
            "passes a model that has learned nothing: the best constant reaches 0.54",
        ),
        ({"auc": ValueThreshold(lower=0.4)}, "passes a model that has learned nothing: the best constant reaches 0.5"),
        ({"auc": ChangeThreshold(absolute=-0.01)}, "the change threshold on auc was not asked: there is no baseline"),
        ({"auc": BetterThanConstant(absolute=-math.inf)}, "the threshold on auc cannot fail: the loss it allows is"),
        ({"auc": ValueThreshold(lower=0.6, slices=["carrier"], rows_above=10**6)}, "was asked nowhere: no slice of"),
        ({}, "no threshold is set, so every model is blessed"),
    ],
)
def test_a_threshold_that_cannot_fail_is_warned_of(thresholds, warning):
    found = verdict(thresholds)
    assert found.blessed
    assert len(found.warnings) == 1 and warning in found.warnings[0]


def test_a_change_threshold_that_cannot_fail_is_warned_of():
    assert "cannot fail" in verdict({"auc": ChangeThreshold(absolute=-1)}, {"auc": 0.9}).warnings[0]
    assert not verdict({"auc": ChangeThreshold(absolute=-0.01)}, {"auc": 0.69}).warnings


def test_thresholds_on_what_is_not_there_are_refused():
    with pytest.raises(ValueError, match="threshold on 'acu', which is not among the metrics of late: log_loss"):
        verdict({"acu": ValueThreshold(lower=0.5)})
    with pytest.raises(
        ValueError, match=r"what a constant prediction reaches of log_loss_constant is not known|more or less"
    ):
        verdict({"log_loss_constant": BetterThanConstant()})
    with pytest.raises(ValueError, match="can never pass"):
        ValueThreshold(lower=1, upper=0)
    with pytest.raises(ValueError, match="takes a list"):
        ValueThreshold(slices="carrier")
    two = document()
    two["outputs"]["delayed"] = two["outputs"]["late"]
    with pytest.raises(ValueError, match='several outputs; name one: "late:auc", "delayed:auc"'):
        decide(two, {"auc": [ValueThreshold(lower=0.5)]})
    assert decide(two, {"delayed:auc": [ValueThreshold(lower=0.6)]}).checks[0].output == "delayed"


def test_the_slicings_that_thresholds_ask_about():
    asked = asked_slicings({"auc": [ValueThreshold(lower=0.6, slices=["overall", "carrier", ["carrier", "origin"]])]})
    assert asked == [(), ("carrier",), ("carrier", "origin")]


def test_importing_thresholds_imports_no_numpy():
    code = "import sys, headrace.transforms.metrics.thresholds; sys.exit(bool({'numpy', 'pyarrow'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
