"""Metrics overall and by slice with their confidence intervals, thresholds, calibration and other curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.pipelines.artifact_types import Blessing, Evaluation
from headrace.pipelines.report.charts.calibration import Bin, reliability, unit_curve
from headrace.pipelines.report.charts.confusion import confusion
from headrace.pipelines.report.charts.forest import Estimate, Forest
from headrace.pipelines.report.charts.svg import Svg
from headrace.pipelines.report.data import ReportData
from headrace.pipelines.report.number_format import fixed, number
from headrace.pipelines.report.payloads import payload
from headrace.pipelines.report.privacy import HIDDEN, Privacy

SLICES = 40
FORESTS = 4
FEW_CHECKS = 6
ABLATIONS = 2
# What people ask for first, of the metrics that no threshold asks for.
_FIRST = ("auc", "log_loss", "pr_auc", "rmse", "mae", "r2", "f1", "accuracy")

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class MetricRow:
    """One metric over all rows."""

    name: str
    value: str
    interval: str
    baseline: str
    constant: str
    principal: bool


@dataclass(frozen=True)
class ForestRow:
    slice: str
    count: str
    rows: int
    value: str
    interval: str
    number: float | None
    chart: Svg
    few: bool
    overall: bool
    passed: bool | None


@dataclass(frozen=True)
class ForestTable:
    metric: str
    axis: Svg
    rows: tuple[ForestRow, ...]
    left_out: int
    guides: tuple[tuple[str, str], ...]
    open: bool


@dataclass(frozen=True)
class Check:
    """One threshold at one slice."""

    output: str
    metric: str
    slice: str
    rows: str
    value: str
    asked: str
    passed: bool
    margin: str


@dataclass(frozen=True)
class AblationRow:
    """The model on complete rows, with a modality withheld, or another model."""

    name: str
    columns: str
    value: str
    interval: str
    change: str
    change_interval: str
    chart: Svg
    complete: bool


@dataclass(frozen=True)
class AblationTable:
    """What each modality adds to one metric."""

    metric: str
    axis: Svg
    rows: tuple[AblationRow, ...]
    counted: str
    replicates: str


@dataclass(frozen=True)
class Plot:
    title: str
    caption: str
    chart: Svg


@dataclass(frozen=True)
class OutputReport:
    name: str
    task: str
    label: str
    metrics: tuple[MetricRow, ...]
    forests: tuple[ForestTable, ...]
    plots: tuple[Plot, ...]
    ablations: tuple[AblationTable, ...] = ()


@dataclass(frozen=True)
class EvaluationReport:
    """One evaluation; `blessed` is None when no threshold was asked."""

    channel: str
    rows: str
    split: str
    confidence: str
    blessed: bool | None
    reason: str
    outputs: tuple[OutputReport, ...]
    checks: tuple[Check, ...]
    folded: tuple[Check, ...]
    warnings: tuple[str, ...]
    headline: tuple[MetricRow, ...] = field(default=())


def evaluations(data: ReportData, privacy: Privacy) -> list[EvaluationReport]:
    """Gives a report for each Evaluation that the run made."""
    read = ((channel, payload(artifact)) for channel, artifact in data.made(Evaluation))
    blessing = next((payload(b) for channel, b in data.made(Blessing) if type(b) is Blessing), None)
    return [
        evaluation_report(channel, document, privacy, blessing)
        for channel, document in read
        if isinstance(document, Mapping) and isinstance(document.get("outputs"), Mapping)
    ]


def evaluation_report(
    channel: str, document: Mapping[str, Any], privacy: Privacy, blessing: Mapping[str, Any] | None = None
) -> EvaluationReport:
    """Lays out an evaluation's document; the format is described in `headrace.transforms.metrics.document`."""
    names = _slice_names(document, privacy)
    checks = tuple(_check(check, names, privacy) for check in document.get("thresholds") or ())
    outputs = tuple(_output(name, output, document, names, privacy) for name, output in document["outputs"].items())
    verdict = document if "blessed" in document else blessing or {}
    blessed = verdict.get("blessed") if checks or "blessed" in verdict else None
    principal = [row for output in outputs for row in output.metrics if row.principal]
    confidence = document.get("confidence")
    ordered = tuple(sorted(checks, key=lambda check: (check.passed, check.slice != "overall")))
    kept = len(ordered) if len(ordered) <= FEW_CHECKS else max(3, sum(not check.passed for check in ordered))
    return EvaluationReport(
        channel=channel,
        rows=number(document.get("rows"), 15),
        split=str(document.get("split") or ""),
        confidence="" if confidence is None else f"{100 * float(confidence):g} %",
        blessed=blessed if isinstance(blessed, bool) else None,
        reason=_told(str(verdict.get("reason") or ""), names, privacy),
        outputs=outputs,
        checks=ordered[:kept],
        folded=ordered[kept:],
        warnings=tuple(_told(str(warning), names, privacy) for warning in document.get("warnings") or ()),
        headline=tuple(principal[:4]),
    )


def _slice_names(document: Mapping[str, Any], privacy: Privacy) -> dict[str, str]:
    """The name that each slice is shown by: one that is cut by a sensitive column does not tell the value."""
    shown: dict[str, str] = {}
    numbers: dict[tuple[str, str], int] = {}
    for output in document["outputs"].values():
        for entry in output.get("slices") or ():
            keys: Mapping[str, Any] = entry.get("slice") or {}
            hidden = [column for column in keys if not privacy.shows_values(column)]
            name = entry.get("name") or ", ".join(f"{column}={value}" for column, value in keys.items())
            for column in hidden:
                numbers.setdefault((column, str(keys[column])), sum(known == column for known, _ in numbers) + 1)
            parts = [f"{c}={HIDDEN} {numbers[c, str(v)]}" if c in hidden else f"{c}={v}" for c, v in keys.items()]
            shown[str(name)] = ", ".join(parts) if hidden else str(name)
    return shown


def _told(text: str, names: Mapping[str, str], privacy: Privacy) -> str:
    """A sentence in which a hidden slice stands under the name it is shown by."""
    for name, shown in sorted(names.items(), key=lambda item: -len(item[0])):
        if shown != name and name in text:
            return f"{text.partition(name)[0]}{shown}"
    return privacy.text(text)


def _check(check: Mapping[str, Any], names: Mapping[str, str], privacy: Privacy) -> Check:
    slice_ = str(check.get("slice", "overall"))
    return Check(
        output=str(check.get("output", "")),
        metric=str(check.get("metric", "")),
        slice=names.get(slice_, slice_),
        rows=number(check.get("rows"), 15),
        value=number(check.get("value")),
        asked=privacy.text(str(check.get("asked", ""))),
        passed=bool(check.get("passed")),
        margin=number(check.get("margin"), 2),
    )


def _output(
    name: str, output: Mapping[str, Any], document: Mapping[str, Any], names: Mapping[str, str], privacy: Privacy
) -> OutputReport:
    slices: Sequence[Entry] = output.get("slices") or ()
    overall: Entry = output.get("overall") or next((s for s in slices if not s.get("slice")), {})
    parts = [entry for entry in slices if entry.get("slice")]
    quantities: Mapping[str, Any] = output.get("quantities") or {}
    asked = [c for c in document.get("thresholds") or () if c.get("output", name) == name]
    metrics: Mapping[str, Any] = overall.get("metrics") or {}
    principal = _principal(metrics, quantities, [str(c.get("metric")) for c in asked])
    rows = [_metric_row(key, overall, quantities, key in principal) for key in metrics]
    rows.sort(key=lambda row: principal.index(row.name) if row.principal else len(principal))
    forests = [_forest(key, overall, parts, quantities, asked, names) for key in principal[:FORESTS]] if parts else []
    label = str(output.get("label") or "")
    ablation: Mapping[str, Any] = document.get("ablation") or {}
    return OutputReport(
        name=name,
        task=str(output.get("task") or ""),
        label=label,
        metrics=tuple(rows),
        forests=tuple(forests),
        plots=tuple(_plots(output)),
        ablations=tuple(_ablations((ablation.get("outputs") or {}).get(name) or {}, principal, ablation)),
    )


def _principal(metrics: Mapping[str, Any], quantities: Mapping[str, Any], asked: Sequence[str]) -> list[str]:
    """The metrics to put first: those that thresholds ask for, then those that say which direction is better."""
    directed = [name for name in metrics if quantities.get(name, {}).get("higher_is_better") is not None]
    plain = [name for name in metrics if not quantities]
    known = [name for name in _FIRST if name in directed]
    return [name for name in dict.fromkeys([*asked, *known, *directed, *plain]) if name in metrics]


def _metric_row(name: str, overall: Entry, quantities: Mapping[str, Any], principal: bool) -> MetricRow:
    estimate = _estimate(overall["metrics"], name)
    baseline = _estimate(overall.get("baseline") or {}, name)
    return MetricRow(
        name=name,
        value=fixed(estimate.value),
        interval=_interval(estimate),
        baseline="" if baseline.value is None else fixed(baseline.value),
        constant=number(_constant(name, overall, quantities)).replace("–", ""),
        principal=principal,
    )


def _constant(name: str, entry: Entry, quantities: Mapping[str, Any]) -> float | None:
    """What a model reaches that has learned nothing: a number, or the value of another quantity."""
    constant = quantities.get(name, {}).get("constant")
    if isinstance(constant, str):
        return _estimate(entry.get("metrics") or {}, constant).value
    return constant if isinstance(constant, int | float) else None


def _estimate(metrics: Mapping[str, Any], name: str) -> Estimate:
    found = metrics.get(name)
    if isinstance(found, Mapping):
        return Estimate(found.get("value"), found.get("lower"), found.get("upper"))
    return Estimate(float(found)) if isinstance(found, int | float) else Estimate(None)


def _interval(estimate: Estimate) -> str:
    if estimate.lower is None or estimate.upper is None:
        return ""
    return f"{fixed(estimate.lower)} to {fixed(estimate.upper)}"


def _forest(
    metric: str,
    overall: Entry,
    slices: Sequence[Entry],
    quantities: Mapping[str, Any],
    asked: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
) -> ForestTable:
    kept = sorted(slices, key=lambda entry: -int(entry.get("count") or 0))[:SLICES]
    kept.sort(key=lambda entry: [str(column) for column in entry.get("by") or entry["slice"]])
    entries = [overall, *kept]
    estimates = [_estimate(entry.get("metrics") or {}, metric) for entry in entries]
    guides = [("overall", estimates[0].value)] if estimates[0].value is not None else []
    constant = _constant(metric, overall, quantities)
    by_slice = isinstance(quantities.get(metric, {}).get("constant"), str)
    marks = [_constant(metric, entry, quantities) if by_slice else None for entry in entries]
    if constant is not None and not by_slice:
        guides.append(("constant", constant))
    # The interval of a slice of few rows is wide and says little: it must not press the others together.
    bounds = [e if not entry.get("few_rows") else Estimate(e.value) for entry, e in zip(entries, estimates)]
    scale = Forest.of([*bounds, *(Estimate(mark) for mark in marks)], guides)
    verdicts = {str(c.get("slice", "overall")): bool(c.get("passed")) for c in asked if c.get("metric") == metric}
    rows = []
    for k, (entry, estimate) in enumerate(zip(entries, estimates)):
        name = (
            "all rows" if k == 0 else str(entry.get("name") or ", ".join(f"{c}={v}" for c, v in entry["slice"].items()))
        )
        passed = verdicts.get("overall" if k == 0 else name)
        shown = names.get(name, name)
        told = f"{shown}: {fixed(estimate.value)}" + (f" ({_interval(estimate)})" if _interval(estimate) else "")
        few = bool(entry.get("few_rows"))
        chart = scale.row(estimate, told, strong=k == 0, weak=few, passed=passed, mark=marks[k])
        count = int(entry.get("count") or 0)
        row = ForestRow(
            slice=shown,
            count=number(count, 15),
            rows=count,
            value=fixed(estimate.value),
            interval=_interval(estimate),
            number=estimate.value,
            chart=chart,
            few=few,
            overall=k == 0,
            passed=passed,
        )
        rows.append(row)
    shown_guides = tuple((kind, number(value)) for kind, value in guides)
    shown_guides += (("mark", number(constant)),) if by_slice and constant is not None else ()
    left_out = len(slices) - len(kept)
    return ForestTable(metric, scale.axis(), tuple(rows), left_out, shown_guides, bool(verdicts))


def _ablations(
    output: Mapping[str, Any], principal: Sequence[str], ablation: Mapping[str, Any]
) -> Iterator[AblationTable]:
    """One table for each of the first metrics: complete rows, each modality withheld, and the baseline model."""
    complete: Mapping[str, Any] = output.get("complete") or {}
    named = [("complete rows", "", complete)]
    named += [(f"without {e['modality']}", ", ".join(e["columns"]), e) for e in output.get("withheld") or ()]
    if output.get("baseline"):
        named.append(("baseline model", "", output["baseline"]))
    metrics: Mapping[str, Any] = complete.get("metrics") or {}
    for metric in [name for name in principal if name in metrics][:ABLATIONS]:
        estimates = [_estimate(entry.get("metrics") or {}, metric) for _, _, entry in named]
        scale = Forest.of(estimates, [("overall", estimates[0].value)] if estimates[0].value is not None else [])
        rows = []
        for (name, columns, entry), estimate in zip(named, estimates, strict=True):
            change = _estimate(entry.get("change") or {}, metric)
            told = f"{name}: {fixed(estimate.value)}" + (f" ({_interval(estimate)})" if _interval(estimate) else "")
            row = AblationRow(
                name=name,
                columns=columns,
                value=fixed(estimate.value),
                interval=_interval(estimate),
                change="" if change.value is None else f"{'+' if change.value > 0 else ''}{fixed(change.value)}",
                change_interval=_interval(change),
                chart=scale.row(estimate, told, strong=entry is complete),
                complete=entry is complete,
            )
            rows.append(row)
        yield AblationTable(
            metric, scale.axis(), tuple(rows), number(output.get("rows"), 15), number(ablation.get("replicates"), 15)
        )


def _plots(output: Mapping[str, Any]) -> Iterator[Plot]:
    plots: Mapping[str, Any] = output.get("plots") or {}
    bins = _bins(plots.get("calibration"))
    if bins:
        caption = "On the dashed line, what is given 30 % comes true in 30 of 100 rows. A larger dot is more rows."
        yield Plot("Calibration", caption, reliability(bins, "Calibration: predicted against observed"))
    roc = plots.get("roc") or {}
    if roc.get("false_positive_rate"):
        points = list(zip(roc["false_positive_rate"], roc["true_positive_rate"]))
        chart = unit_curve(points, "ROC curve", "false positive rate", "true positive rate", chance=True)
        yield Plot("ROC", "The dashed line is what guessing gives.", chart)
    curve = plots.get("precision_recall") or {}
    if curve.get("recall"):
        points = sorted(zip(curve["recall"], curve["precision"]))
        chart = unit_curve(points, "Precision by recall", "recall", "precision", chance=False)
        yield Plot("Precision and recall", "", chart)
    counts = plots.get("confusion")
    if counts and len(counts) <= 60:
        yield Plot(
            "Confusion", "A row is a true class; darker is a larger share of it.", confusion(counts, "Confusion matrix")
        )


def _bins(rows: Any) -> list[Bin]:
    if not isinstance(rows, Sequence) or not rows:
        return []
    total = sum(row["weight"] for row in rows) or 1.0
    return [Bin(row["prediction"], row["label"], row["weight"] / total) for row in rows]
