"""The commands as a person uses them: what they print, what they exit with."""

from __future__ import annotations

import json
import re

import pytest

AUTHOR = """
from headrace.pipelines import Blessing, HyperParameters, Input, InputFiles, Output, component, pipeline, step_context


@component
def Gen(out: Output[HyperParameters], *, number: int, files: InputFiles | None = None) -> None:
    step_context().progress(5, 10)
    step_context().progress(10, 10)
    step_context().warn("mind the gap")
    print("Gen says hello")
    out.write({"number": number})


@component
def Check(of: Input[HyperParameters], blessing: Output[Blessing]) -> None:
    blessing.blessed = of.read()["number"] < 10
    blessing.reason = "too large" if not blessing.blessed else "fine"
    blessing.write({})
    if not blessing.blessed:
        step_context().refuse("too large")


@component
def Break(of: Input[HyperParameters], out: Output[HyperParameters]) -> None:
    print("about to break")
    if of.read()["number"] == 7:
        raise ValueError("seven\\nis odd")
    out.write({})


@pipeline
def flow(number: int = 1, mode: str = "a"):
    gen = Gen(number=number)
    Check(of=gen.outputs["out"])
    Break(of=gen.outputs["out"])
"""


@pytest.fixture
def flow(project):
    project.write(flow=AUTHOR)
    return project


def test_a_run_prints_a_line_a_step(flow):
    done = flow.headrace("run", "flow.py")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert re.match(r"flow, run \d{8}-\d{6}-\w{8}$", lines[0])
    assert re.match(r"  Gen    done +\d+\.\d s +10 rows  it never ran before$", lines[1]), lines[1]
    assert lines[2].strip() == "warning: mind the gap"
    assert {line.split()[0] for line in lines[3:5]} == {"Check", "Break"}
    assert re.match(r"done: 3 steps, 0 cached, \d+\.\d s$", lines[-1])
    assert "Gen says hello" not in done.out, "what a step prints is in its log"
    again = flow.headrace("run", "flow.py").out.splitlines()
    assert all(re.match(r"  \w+ +cached +nothing changed since run", line) for line in again[1:4]), again
    assert "3 cached" in again[-1]


def test_a_failed_step_says_why_and_what_to_type(flow):
    done = flow.headrace("run", "flow.py", "-p", "number=7")
    assert done.code == 1
    assert "ValueError: seven" in done.out and "is odd" in done.out
    assert "log: headrace logs Break    again, alone: headrace rerun Break" in done.out
    assert done.out.splitlines()[-1].startswith("failed: Break  (3 steps, 0 cached")
    assert "about to break" in flow.headrace("logs").out, "without a name, of what failed"
    assert "Traceback" in flow.headrace("logs", "break").out, "whatever the case"

    again = flow.headrace("rerun", "Break")
    assert again.code == 1 and "raise ValueError" in again.err and "Break failed: ValueError: seven" in again.err
    flow.edit("flow", "== 7", "== 8")
    mended = flow.headrace("rerun", "Break")
    assert mended.code == 0 and "Break succeeded" in mended.out, mended.err
    assert len(flow.headrace("runs").out.splitlines()) == 1, "rerun records nothing"


def test_not_blessed_is_3_and_the_last_line_says_why(flow):
    for _ in range(2):
        done = flow.headrace("run", "flow.py", "-p", "number=11")
        assert done.code == 3
        assert done.out.splitlines()[-1].startswith("not blessed: too large  (3 steps")


def test_json_lines(flow):
    done = flow.headrace("run", "flow.py", "--json", "-p", "number=7")
    assert done.code == 1
    kinds = [event["event"] for event in done.events]
    assert kinds[0] == "run_started" and kinds[-1] == "run_finished"
    assert done.events[0]["steps"] == ["Gen", "Break", "Check"]
    assert done.events[-1]["exit_code"] == 1 and done.events[-1]["state"] == "failed"
    progress = [event for event in done.events if event["event"] == "step_progress" and "done" in event]
    assert [event["done"] for event in progress] == [5, 10]
    broken = next(event for event in done.events if event.get("step") == "Break" and event["event"] == "step_finished")
    assert (broken["state"], broken["error"]) == ("failed", "ValueError: seven")
    gen = next(event for event in done.events if event.get("step") == "Gen" and event["event"] == "step_finished")
    assert gen["warnings"] == ["mind the gap"] and gen["rows"] == 10


def test_plan_before_there_is_a_store_and_after(flow):
    first = flow.headrace("plan", "flow.py")
    assert first.code == 0 and first.out.count("it never ran before") == 3
    assert not (flow.folder / ".headrace").exists(), "plan makes nothing"
    flow.headrace("run", "flow.py")
    assert flow.headrace("plan", "flow.py").out.count("  cached  ") == 3
    changed = flow.headrace("plan", "flow.py", "-p", "number=2").out.splitlines()
    assert re.match(r"  Gen +runs +parameter number: 1 -> 2$", changed[0])
    assert [line.split()[:3] for line in changed[1:]] == [["Break", "may", "run"], ["Check", "may", "run"]]
    forecast = json.loads(flow.headrace("plan", "flow.py", "--json", "-p", "number=2").out)
    assert [(item["step"], item["verdict"]) for item in forecast] == [
        ("Gen", "runs"),
        ("Break", "may run"),
        ("Check", "may run"),
    ]
    assert "headrace_plan: 1" in flow.headrace("plan", "flow.py", "--yaml").out


def test_why(flow):
    flow.headrace("run", "flow.py")
    assert "it never ran before" in flow.headrace("why", "Gen").out
    flow.headrace("run", "flow.py", "-p", "number=2")
    assert "parameter number: 1 -> 2" in flow.headrace("why", "gen").out
    assert "input of changed" in flow.headrace("why", "Check").out
    flow.edit("flow", 'print("about to break")', 'print("just before it breaks")')
    now = flow.headrace("why", "Break", "flow.py", "-p", "number=2").out
    assert "Break runs" in now and "flow:Break changed" in now
    assert "Gen cached" in flow.headrace("why", "Gen", "flow.py", "-p", "number=2").out


def test_show_and_runs(flow):
    flow.headrace("run", "flow.py", "--experiment", "first")
    flow.headrace("run", "flow.py", "-p", "number=2")
    listed = flow.headrace("runs").out.splitlines()
    assert len(listed) == 2 and listed[1].endswith("first")
    assert len(flow.headrace("runs", "--experiment", "first").out.splitlines()) == 1
    assert len(flow.headrace("runs", "-n", "1").out.splitlines()) == 1
    documents = [json.loads(line) for line in flow.headrace("runs", "--json").out.splitlines()]
    assert [document["parameters"]["number"] for document in documents] == [2, 1]

    document = json.loads(flow.headrace("show", "--json").out)
    assert document["id"] == listed[0].split()[0] and document["state"] == "succeeded"
    assert document["steps"]["Check"]["outputs"]["blessing"]["properties"]["blessed"] is True
    shown = flow.headrace("show", listed[1].split()[0], "Check").out
    assert "out  blessing: Blessing" in shown and "reason = 'fine'" in shown and "in   of: HyperParameters" in shown
    assert flow.headrace("show", listed[0].split()[0]).out.startswith("flow, run ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "flow.py", "-p", "number=x"], "parameter 'number': expected int, received 'x'"),
        (["run", "flow.py", "-p", "numbr=1"], "pipeline flow has no parameter 'numbr'"),
        (["run", "flow.py", "-p", "number"], "expected -p name=value, received 'number'"),
        (["run", "flw.py"], "expected a file, found none at flw.py"),
        (["run", "flow.py:other"], "flow.py defines no pipeline 'other'"),
        (["run", "empty.py"], "empty.py defines no pipeline"),
        (["run", "two.py"], "say which: two.py:one, two.py:two"),
        (["run", "syntax.py"], "syntax.py:1: not Python"),
        (["check", "raises.py"], "ZeroDivisionError"),
        (["run", "flow.py", "--debug", "Gne"], "did you mean Gen?"),
        (["why", "Gen"], "there is no store at"),
        (["runs"], "there is no store at"),
    ],
)
def test_a_wrong_command_is_2_and_says_what_to_do(flow, arguments, says):
    two = AUTHOR.replace("def flow(", "def one(") + "\n\ntwo = Pipeline('two', [Gen(number=1)])\n"
    flow.write(
        empty="x = 1\n", syntax="def (:\n", raises="1 / 0\n", two="from headrace.pipelines import Pipeline\n" + two
    )
    done = flow.headrace(*arguments)
    assert done.code == (1 if "no store" in says else 2), done.out + done.err
    assert says in done.err, done.err
    assert not (flow.folder / ".headrace").exists()
    if "raises.py" in arguments:
        assert "raises.py" in done.err.splitlines()[1], "the author's own line comes first"
    else:
        assert "Traceback" not in done.err


def test_one_of_several_pipelines(flow):
    flow.write(two=AUTHOR + "\n\n@pipeline\ndef other(number: int = 3):\n    Gen(number=number)\n")
    done = flow.headrace("run", "two.py:other", "--json")
    assert done.code == 0 and done.states == {"Gen": "succeeded"}


def test_a_yaml_plan_runs_and_hits_what_python_made(flow):
    flow.headrace("run", "flow.py")
    (flow.folder / "flow.yaml").write_text(flow.headrace("plan", "flow.py", "--yaml").out)
    done = flow.headrace("run", "flow.yaml", "--json")
    assert done.code == 0, done.err
    assert set(done.states.values()) == {"cached"}


def test_debug_lets_breakpoint_work(flow):
    """`breakpoint()` calls the hook that the environment names, in this process and with the step's own frame."""
    flow.write(hook="import sys\ndef stop():\n    print('stopped in', sys._getframe(1).f_code.co_name)\n")
    flow.edit("flow", 'print("about to break")', "breakpoint()")
    env = {"PYTHONBREAKPOINT": "hook.stop", "PYTHONPATH": str(flow.folder)}
    done = flow.headrace("run", "flow.py", "--debug", env=env)
    assert done.code == 0 and "stopped in Break" in done.out and "Gen says hello" in done.out, done.err
    assert "stopped in" not in flow.headrace("run", "flow.py", "--debug", env=env).out, "cached"
    assert "stopped in Break" in flow.headrace("run", "flow.py", "--debug", "Break", env=env).out


def test_spawn_is_an_option_of_the_python_api_alone(flow):
    assert flow.headrace("run", "flow.py", "--isolation", "spawn").code == 2


def test_exit_codes_are_documented(project):
    for command in ([], ["run"]):
        said = " ".join(project.headrace(*command, "--help").out.split())
        for code in ("0 done", "1 a step failed", "2 the pipeline is wrong", "3 not blessed", "130 interrupted"):
            assert code in said


def test_output_that_nobody_reads_is_no_fault(flow):
    """`headrace runs | head -1`."""
    import subprocess
    import sys

    flow.headrace("run", "flow.py")
    command = f"{sys.executable} -m headrace.pipelines.cli show --json | true"
    done = subprocess.run(["bash", "-c", command], cwd=flow.folder, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
