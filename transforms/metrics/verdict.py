"""The verdict: every threshold asked of an evaluation's document, and whether the model is blessed. Pure Python."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.transforms.metrics.thresholds import (
    BetterThanConstant,
    ChangeThreshold,
    Threshold,
    ValueThreshold,
    columns_of,
    finite,
)


@dataclass(frozen=True)
class Check:
    """One threshold at one slice.

    Args:
        margin: How far the value is on the right side; negative where it failed, None where it is not a number.
    """

    output: str
    metric: str
    slice: str
    rows: int
    value: float | None
    asked: str
    passed: bool
    margin: float | None = None

    @property
    def where(self) -> str:
        return "overall" if self.slice == "overall" else f"for {self.slice} ({self.rows:,} rows)"

    def sentence(self) -> str:
        if self.value is None:
            return f"{self.metric} is not defined {self.where}, expected {self.asked}"
        return f"{self.metric} is {_number(self.value)} {self.where}, expected {self.asked}"


@dataclass(frozen=True)
class Verdict:
    """What thresholds say of an evaluation.

    Args:
        blessed: Whether every check passed.
        reason: One sentence that names metric, slice, value and threshold.
        checks: Every threshold at every slice it is asked at.
        warnings: What could not fail, or was not asked.
    """

    blessed: bool
    reason: str
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]


def decide(document: Mapping[str, Any], thresholds: Mapping[str, Sequence[Threshold]]) -> Verdict:
    """Checks every threshold against an evaluation's document.

    Args:
        document: As `headrace.transforms.metrics.document` describes it.
        thresholds: Metric -> thresholds. With several outputs, ``"output:metric"``.

    Raises:
        ValueError: A threshold names an output, metric or slicing that is not in the evaluation.
    """
    checks: list[Check] = []
    warnings: list[str] = []
    for written, several in thresholds.items():
        output, metric = _find(document, written)
        for threshold in several:
            found = list(_checks(document, output, metric, threshold, warnings))
            checks += found
            warnings += _cannot_fail(document, output, metric, threshold, found)
    if not thresholds:
        warnings.append("no threshold is set, so every model is blessed: pass thresholds=")
    failed = [check for check in checks if not check.passed]
    return Verdict(not failed, _reason(checks, failed), tuple(checks), tuple(warnings))


def _find(document: Mapping[str, Any], written: str) -> tuple[str, str]:
    outputs = document["outputs"]
    output, colon, metric = written.partition(":")
    if not colon or output not in outputs:
        if len(outputs) > 1:
            names = ", ".join(f'"{name}:{written}"' for name in outputs)
            raise ValueError(f"threshold on {written!r}: the model has several outputs; name one: {names}")
        output, metric = next(iter(outputs)), written
    known = outputs[output]["quantities"]
    if metric not in known:
        raise ValueError(f"threshold on {metric!r}, which is not among the metrics of {output}: {', '.join(known)}")
    return output, metric


def _slices(document: Mapping[str, Any], output: str, threshold: Threshold) -> Iterator[Mapping[str, Any]]:
    for written in threshold.slices:
        columns = list(columns_of(written))
        for entry in [document["outputs"][output]["overall"], *document["outputs"][output]["slices"]]:
            if entry["by"] == columns and entry["count"] > threshold.rows_above:
                yield entry


def _value(entry: Mapping[str, Any], metric: str, model: str = "metrics") -> float | None:
    found = (entry.get(model) or {}).get(metric)
    value: float | None = found["value"] if found else None
    return value


def _constant(document: Mapping[str, Any], output: str, metric: str, entry: Mapping[str, Any]) -> float | None:
    constant = document["outputs"][output]["quantities"][metric]["constant"]
    return _value(entry, constant) if isinstance(constant, str) else constant


def _checks(
    document: Mapping[str, Any], output: str, metric: str, threshold: Threshold, warnings: list[str]
) -> Iterator[Check]:
    quantity = document["outputs"][output]["quantities"][metric]
    if isinstance(threshold, ChangeThreshold) and not document["baseline"]:
        warnings.append(
            f"the change threshold on {metric} was not asked: there is no baseline model, so it cannot fail"
        )
        return
    higher = quantity["higher_is_better"]
    if isinstance(threshold, ChangeThreshold) and threshold.higher_is_better is not None:
        higher = threshold.higher_is_better
    if not isinstance(threshold, ValueThreshold) and higher is None:
        raise ValueError(
            f"whether more or less of {metric} is better is not known: pass higher_is_better=, or a ValueThreshold"
        )
    if isinstance(threshold, BetterThanConstant) and quantity["constant"] is None:
        raise ValueError(f"what a constant prediction reaches of {metric} is not known: use a ValueThreshold")
    for entry in _slices(document, output, threshold):
        value = _value(entry, metric)
        if isinstance(threshold, ValueThreshold):
            yield _within(output, metric, entry, value, threshold)
        else:
            change = isinstance(threshold, ChangeThreshold)
            other = _value(entry, metric, "baseline") if change else _constant(document, output, metric, entry)
            yield _beyond(
                output,
                metric,
                entry,
                value,
                other,
                threshold,
                higher,
                "the baseline's" if change else "the best constant's",
            )


def _within(
    output: str, metric: str, entry: Mapping[str, Any], value: float | None, threshold: ValueThreshold
) -> Check:
    bounds = [(threshold.lower, "at least", 1), (threshold.upper, "at most", -1)]
    asked = " and ".join(f"{word} {_number(bound)}" for bound, word, _ in bounds if bound is not None) or "any value"
    margins = [] if value is None else [sign * (value - bound) for bound, _, sign in bounds if bound is not None]
    margin = None if value is None else min(margins, default=math.inf)
    return Check(
        output,
        metric,
        entry["name"],
        entry["count"],
        value,
        asked,
        margin is not None and margin >= 0,
        finite(margin),
    )


def _beyond(
    output: str,
    metric: str,
    entry: Mapping[str, Any],
    value: float | None,
    other: float | None,
    threshold: ChangeThreshold | BetterThanConstant,
    higher: bool,
    whose: str,
) -> Check:
    """Value against another value with margins in the direction that is better."""
    if other is None:
        return Check(
            output, metric, entry["name"], entry["count"], value, f"better than {whose}, which is not defined", False
        )
    needed = max(
        -math.inf if threshold.absolute is None else threshold.absolute,
        -math.inf if threshold.relative is None else threshold.relative * abs(other),
    )
    needed = 0.0 if needed == -math.inf else needed
    bound = other + needed if higher else other - needed
    word = "at least" if higher else "at most"
    sign = "+" if (needed >= 0) == higher else "-"
    asked = f"{word} {_number(bound)} ({whose} {_number(other)} {sign} {_number(abs(needed))})"
    margin = None if value is None else (value - bound if higher else bound - value)
    # 1e-12: what rounding in the last bits may differ by when a model is compared with itself.
    return Check(
        output, metric, entry["name"], entry["count"], value, asked, margin is not None and margin >= -1e-12, margin
    )


def _cannot_fail(
    document: Mapping[str, Any], output: str, metric: str, threshold: Threshold, checks: Sequence[Check]
) -> Iterator[str]:
    quantity = document["outputs"][output]["quantities"][metric]
    lowest = -math.inf if quantity["lowest"] is None else quantity["lowest"]
    highest = math.inf if quantity["highest"] is None else quantity["highest"]
    if isinstance(threshold, ValueThreshold):
        if (threshold.lower is None or threshold.lower <= lowest) and (
            threshold.upper is None or threshold.upper >= highest
        ):
            asks = checks[0].asked if checks else "it"
            span = f"{metric} is always between {_number(lowest)} and {_number(highest)}"
            yield f"the threshold on {metric} ({asks}) cannot fail: {span}"
            return
        overall = document["outputs"][output]["overall"]
        constant = _constant(document, output, metric, overall)
        if constant is not None and (check := _within(output, metric, overall, constant, threshold)).passed:
            yield (
                f"the threshold on {metric} ({check.asked}) passes a model that has learned nothing: the best "
                f"constant reaches {_number(constant)}"
            )
    elif _allowed_loss(threshold, highest - lowest, bool(quantity["higher_is_better"])):
        yield f"the threshold on {metric} cannot fail: the loss it allows is the whole range of {metric}"
    if not checks and not (isinstance(threshold, ChangeThreshold) and not document["baseline"]):
        least = f"over {threshold.rows_above:,} rows" if threshold.rows_above else "rows"
        yield f"the threshold on {metric} was asked nowhere: no slice of {_named(threshold)} has {least}"


def _allowed_loss(threshold: ChangeThreshold | BetterThanConstant, span: float, higher_is_better: bool) -> bool:
    """Whether a margin is so far below 0 that nothing could be worse."""
    absolute, relative = threshold.absolute, threshold.relative
    allows_all = absolute is None or -absolute >= span
    allows_all_of_it = relative is None or (higher_is_better and relative <= -1)
    return allows_all and allows_all_of_it and not (absolute is None and relative is None)


def _named(threshold: Threshold) -> str:
    return " or ".join(one if isinstance(one, str) else " × ".join(one) for one in threshold.slices)


def _reason(checks: Sequence[Check], failed: Sequence[Check]) -> str:
    if failed:
        worst = min(failed, key=lambda check: (check.slice != "overall", -check.rows))
        others = f"; {len(failed) - 1} more of {len(checks)} checks fail" if len(failed) > 1 else ""
        return worst.sentence() + others
    if not checks:
        return "no threshold was checked"
    first = checks[0]
    others = f", and {len(checks) - 1} more checks pass" if len(checks) > 1 else ""
    return f"{first.metric} is {_number(first.value)} {first.where}, as expected {first.asked}{others}"


def _number(value: float | None) -> str:
    return (
        "undefined" if value is None else f"{value:.4g}" if abs(value) < 1e4 or math.isinf(value) else f"{value:,.0f}"
    )
