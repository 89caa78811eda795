"""Functions of notebook cells travel as content-named modules with all that they use."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# Each script runs its cells in a real IPython shell, in a process of its own: cells live in `__main__`.
PRELUDE = """
import sys
from IPython.core.interactiveshell import InteractiveShell
from headrace.pipelines.errors import PipelineError
from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.notebook_code import capture_notebook_function
shell = InteractiveShell.instance()
folder = "cells"
def cell(text):
    shell.run_cell(text, store_history=True).raise_error()
def capture(name):
    return capture_notebook_function(shell.user_ns[name], folder)
def refused(name):
    try:
        capture(name)
    except PipelineError as error:
        print(error)
    else:
        raise SystemExit(f"{name} was not refused")
"""


def in_notebook(tmp_path: Path, script: str) -> list[str]:
    code = PRELUDE + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout.splitlines()


def in_worker(tmp_path: Path, ref: str, call: str) -> str:
    code = (
        "import json; from headrace.pipelines.function_ref import FunctionRef\n"
        f"f = FunctionRef.from_json({ref}).load('.', code_path=('cells',))\n"
        f"print({call})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


CELLS = '''
    cell("""
    from __future__ import annotations
    import dataclasses, math
    import os.path as p
    import xml.dom.minidom
    from typing import Any
    from collections import OrderedDict as Ordered
    Features = dict[str, Any]
    K = {"a": [1, 2.5, float("inf"), (1,)], "b": None, 3: {4}}
    @dataclasses.dataclass
    class Config:
        n: int = 3
    """)
    cell("""
    def scale(x):
        # a comment
        return math.log(x) * K["a"][1]
    class Base:
        def width(self): return scale(2)
    class Sub(Base):
        config = Config()
    square = lambda v: v * v
    alias = scale
    def even(n): return n == 0 or odd(n - 1)
    def odd(n): return n != 0 and even(n - 1)
    """)
    cell("""
    def build_model(features: Features, m: Ordered = None):
        xml.dom.minidom.Document, p.join
        return Sub().width() + square(features) + alias(1.0) + Sub.config.n + even(4)
    """)
'''


def test_a_function_travels_with_what_it_uses(tmp_path: Path) -> None:
    here, ref = in_notebook(
        tmp_path,
        CELLS
        + """
    print(shell.user_ns["build_model"](2))
    print(capture("build_model").to_json())
    """,
    )
    assert in_worker(tmp_path, ref, "f(2)") == here


def test_the_name_is_made_from_the_content(tmp_path: Path) -> None:
    lines = in_notebook(
        tmp_path,
        CELLS
        + """
    for text in ["return 1", "return 1  # comment", "return  1", "return 2"]:
        cell(f"def f(x):\\n    'doc'\\n    {text}")
        print(capture("f").module)
    cell("def scale(x): return x")
    cell("K = 1")
    print(capture("f").module)
    print(capture("even") == FunctionRef.of(shell.user_ns["even"], notebook=folder))
    """,
    )
    assert lines[0] == lines[1] == lines[2] != lines[3]
    assert lines[3] == lines[4], "cells that it does not use do not count"
    assert lines[5] == "True"


def test_parts_name_the_definitions_and_not_the_file(tmp_path: Path) -> None:
    lines = in_notebook(tmp_path, CELLS + "    print(sorted(capture('scale').digest('.', (folder,)).parts))\n")
    assert "'notebook:K', 'notebook:scale'" in lines[0]


def test_a_module_beside_the_notebook_is_imported_by_its_stable_name(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "local_rates.py").write_text("RATE = 4\ndef rate(x): return RATE * x\n")
    (ref,) = in_notebook(
        tmp_path,
        """
    sys.path.insert(0, "")
    cell("import local_rates\\nfrom local_rates import rate\\ndef f(x): return rate(x) + local_rates.RATE")
    print(capture("f").to_json())
    """,
    )
    assert in_worker(tmp_path, ref, "f(2)") == "12"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import io; held = io.StringIO()\ndef f(): return held", "f captures held, a _io.StringIO"),
        (
            "import threading; C = {'lock': [threading.Lock()]}\ndef f(): return C",
            "f captures C['lock'][0], a _thread.lock",
        ),
        ("class A: pass\na = A()\ndef g(): return a\ndef f(): return g()", "g captures a, a A"),
        ("def f(): return not_yet", "f names 'not_yet', which no cell has defined yet"),
        ("def f(n): return globals()[n]", "f uses globals()"),
        (
            "def make(n):\n    def f(): return n\n    return f\nf = make(1)",
            "f uses variables of the function around it",
        ),
        ("exec('def f(): return 1')", "the source of f is not kept"),
        ("X = 'a' * 2_000_000\ndef f(): return X", "f captures X, whose text has 2,000,002 characters"),
    ],
)
def test_what_cannot_be_written_down_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    lines = in_notebook(tmp_path, f"cell({text!r})\nrefused('f')\n")
    assert said in lines[0]
    assert lines[1].startswith("    fix: ")
    assert not list(tmp_path.glob("cells/*")), "nothing is left behind"


def test_a_plain_prompt_keeps_no_source(tmp_path: Path) -> None:
    script = "from headrace.pipelines.function_ref import FunctionRef\ndef f(): return 1\n\nFunctionRef.of(f)\n"
    done = subprocess.run([sys.executable], input=script, cwd=tmp_path, capture_output=True, text=True)
    assert "the source of f is not kept" in done.stderr
