"""The example as its page says: run, pushed, and served to a Python with TensorFlow alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_example_is_pushed_and_names_digits_from_a_file_alone(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DIGITS_DATA"}
    root = ["--root", str(tmp_path / "root")]
    command = [sys.executable, "-m", "headrace.pipelines.cli", "run", "examples/digits/pipeline.py"]
    run = subprocess.run(
        [*command, *root, "-p", f"serving={tmp_path / 'serving'}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / "serving" / "1" / "saved_model.pb").is_file()
    proof = subprocess.run(
        [sys.executable, "-m", "examples.digits.proof", *root],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert proof.returncode == 0, proof.stdout + proof.stderr
    right = {name.strip(): float(share) for name, share in re.findall(r"^  (.+?) +([\d.]+)% right", proof.stdout, re.M)}
    assert right["image and measures"] > 96 and right["the PNG file alone"] > 96
    # Ten digits: a guess is right about 10 %.
    assert 40 < right["measures alone"] < right["image and measures"]
