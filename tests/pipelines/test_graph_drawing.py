"""A Plan as text, SVG and Mermaid."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from xml.etree import ElementTree

from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.graph_drawing import to_mermaid, to_svg, to_text
from headrace.pipelines.graph_drawing.graph import Link, graph_of
from headrace.pipelines.plan import ArtifactSlot, Channel, Comparison, Const, Group, Interface, Plan, Step
from hypothesis import example, given, settings
from hypothesis import strategies as st


def step(id_: str, reads: dict[str, str], outputs: list[str]) -> Step:
    channels = tuple((name, Channel(*channel.rsplit(".", 1))) for name, channel in reads.items())
    slots = tuple((name, ArtifactSlot("Artifact")) for name in reads)
    interface = Interface(slots, tuple((output, "Artifact") for output in outputs))
    return Step(id_, FunctionRef("parts", id_, "0" * 64), interface, channels)


TWELVE = Plan(
    "flights",
    (
        step("SqlExampleGen", {}, ["examples"]),
        step("StatisticsGen", {"examples": "SqlExampleGen.examples"}, ["statistics"]),
        step("SchemaGen", {"statistics": "StatisticsGen.statistics"}, ["schema"]),
        step("previous", {}, ["statistics"]),
        step("ExampleValidator", {"schema": "SchemaGen.schema", "previous": "previous.statistics"}, ["anomalies"]),
        step("Transform", {"a": "SqlExampleGen.examples", "b": "SchemaGen.schema"}, ["examples", "transform_graph"]),
        step(
            "Trainer", {"a": "Transform.examples", "b": "Transform.transform_graph", "c": "SchemaGen.schema"}, ["model"]
        ),
        step("baseline", {}, ["model"]),
        step("Evaluator", {"a": "SqlExampleGen.examples", "b": "Trainer.model", "c": "baseline.model"}, ["blessing"]),
        step("InfraValidator", {"model": "Trainer.model", "examples": "SqlExampleGen.examples"}, ["infra_blessing"]),
        step("BulkInferrer", {"model": "Trainer.model", "examples": "SqlExampleGen.examples"}, ["predictions"]),
        step(
            "Pusher",
            {"a": "Trainer.model", "b": "Evaluator.blessing", "c": "InfraValidator.infra_blessing"},
            ["pushed"],
        ),
    ),
)


def links_of_text(drawn: str) -> set[tuple[str, str]]:
    """Reads the drawing back as a person does: down each rail from the step that makes it to the steps that read it."""
    rows = [line for line in drawn.splitlines()[2:] if line.strip()][:-1]
    found, maker = set(), {}
    for row in rows:
        name = row.split()[0]
        marks = [(column, char) for column, char in enumerate(row) if char in "╮┬●│"]
        labels = re.search(r"╮ ([^()]*)", row)
        names = labels[1].strip().split(", ") if labels else []
        made = [column for column, char in marks if char in "╮┬"]
        for column, char in marks:
            if char == "●":
                found.add((maker[column], name))
        maker |= {column: f"{name}.{label}" for column, label in zip(made, names, strict=True)}
    return found


def test_the_text_of_twelve_steps_fits_and_says_every_link() -> None:
    drawn = to_text(TWELVE)
    assert max(map(len, drawn.splitlines())) <= 100
    assert links_of_text(drawn) == {(f"{x.source}.{x.output}", x.target) for x in graph_of(TWELVE).links}


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 14))
    steps: list[Step] = []
    for number in range(count):
        outputs = [f"o{k}" for k in range(draw(st.integers(0, 3)))]
        above = [f"{other.id}.{output}" for other in steps for output, _ in other.interface.outputs]
        reads = draw(st.lists(st.sampled_from(above), unique=True, max_size=4)) if above else []
        steps.append(step(f"Step{number}", {f"i{k}": channel for k, channel in enumerate(reads)}, outputs))
    return Plan("any", tuple(steps))


@settings(max_examples=60, deadline=None)
@given(plans())
def test_the_text_of_any_plan_says_exactly_its_links(plan: Plan) -> None:
    drawn = to_text(plan, width=10_000)
    assert links_of_text(drawn) == {(f"{x.source}.{x.output}", x.target) for x in graph_of(plan).links}


def overlapping() -> Plan:
    """One of which grandalf alone lays two boxes over each other."""
    reads = {2: ["Step0"], 3: ["Step0", "Step2"], 8: ["Step0"], 9: ["Step2"], 10: ["Step2"]}
    reads |= {11: ["Step3"], 12: ["Step3"], 13: ["Step3"]}
    inputs = [{f"i{k}": f"{name}.o0" for k, name in enumerate(reads.get(number, []))} for number in range(14)]
    return Plan("any", tuple(step(f"Step{n}", inputs[n], ["o0"] if n in (0, 2, 3) else []) for n in range(14)))


@settings(max_examples=40, deadline=None)
@given(plans())
@example(overlapping())
def test_any_plan_is_valid_svg_inside_its_frame(plan: Plan) -> None:
    root = ElementTree.fromstring(to_svg(plan))
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    cards = [e for e in root.iter("{http://www.w3.org/2000/svg}rect") if e.get("class") == "hr-card"]
    assert len(cards) == len(plan.steps)
    boxes = [tuple(float(card.attrib[name]) for name in ("x", "y", "width", "height")) for card in cards]
    for x, y, w, h in boxes:
        assert left <= x and x + w <= left + width + 0.2 and top <= y and y + h <= top + height + 0.2
    for number, (x, y, w, h) in enumerate(boxes):
        for other_x, other_y, other_w, other_h in boxes[:number]:
            assert x + w <= other_x or other_x + other_w <= x or y + h <= other_y or other_y + other_h <= y
    lines = [e for e in root.iter("{http://www.w3.org/2000/svg}path") if e.get("class") == "hr-line"]
    assert len(lines) == len(graph_of(plan).links)


def test_every_step_is_below_what_it_reads() -> None:
    root = ElementTree.fromstring(to_svg(TWELVE))
    tops = {}
    for group in root.iter("{http://www.w3.org/2000/svg}g"):
        if str(group.get("class")).startswith("hr-step"):
            title, card = group[0], group[1]
            tops[str(title.text).split(" ")[0]] = float(card.attrib["y"])
    for link in graph_of(TWELVE).links:
        assert tops[link.source] < tops[link.target]


def test_states_are_shown() -> None:
    given_ = {"SqlExampleGen": "cached", "Trainer": "failed", "Pusher": "not_blessed"}
    drawn = to_text(TWELVE, given_)
    assert "≡ SqlExampleGen" in drawn and "✗ Trainer" in drawn and "⊘ Pusher" in drawn and "○ Evaluator" in drawn
    picture = to_svg(TWELVE, given_, notes={"Trainer": "5.6 s"}, hrefs={"Trainer": "#step-Trainer"})
    assert "hr-failed" in picture and "hr-cached" in picture and "hr-refused" in picture
    assert "5.6 s" in picture and 'href="#step-Trainer"' in picture


def test_ascii_is_ascii_and_narrow_is_narrow() -> None:
    assert to_text(TWELVE, {}, ascii=True).isascii()
    assert max(map(len, to_text(TWELVE, width=50).splitlines())) <= 50


HOSTILE = 'a"]; click x "javascript:alert(1)"\n<script>alert(1)</script>\x1b[31m&'


def test_hostile_names_stay_text() -> None:
    plan = Plan(HOSTILE, (step(HOSTILE, {}, [HOSTILE]), step("b", {"x": f"{HOSTILE}.{HOSTILE}"}, [])))
    root = ElementTree.fromstring(to_svg(plan))
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    drawn = to_text(plan)
    assert "\x1b" not in drawn and len(drawn.splitlines()) == 6
    for line in to_mermaid(plan).splitlines():
        assert re.fullmatch(r'flowchart TB|  s\d+\["[^"\[\]<>\n]*"\]|  s\d+ -- "[^"\[\]<>]*" --> s\d+', line)


def test_groups() -> None:
    push = step("Push", {"model": "Train.model"}, ["pushed"])
    when = (("when", Comparison(">", Channel("Eval", "auc"), Const(0.6))),)
    inner = Group("condition", "good", (push,), outputs=(("pushed", Channel("Push", "pushed")),), control=when)
    plan = Plan(
        "p", (step("Train", {}, ["model"]), step("Eval", {}, ["auc"]), inner, step("Tell", {"x": "good.pushed"}, []))
    )
    links = graph_of(plan).links
    assert Link("Push", "pushed", "Tell", "x") in links
    assert Link("Eval", "auc", "Push", "when") in links
    assert "condition good:" in to_text(plan)
    assert "subgraph" in to_mermaid(plan) and to_mermaid(plan).count("  end") == 1
    assert "condition good" in to_svg(plan)


def test_the_same_in_every_process() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_graph_drawing import *; "
        "print(to_svg(TWELVE, {'Trainer': 'failed'}) + to_text(TWELVE) + to_mermaid(TWELVE))"
    )
    folder = os.path.dirname(__file__)  # noqa: PTH120
    seeds = ("0", "7")
    shown = [
        subprocess.run(
            [sys.executable, "-c", program, folder],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in seeds
    ]
    assert shown[0] == shown[1]
