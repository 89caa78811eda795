"""The engine of TensorFlow Transform: what it writes is what TensorFlow Transform gives by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ORACLE = Path(__file__).with_name("tft_oracle.py")


def compared(folder: Path, *arguments: str) -> None:
    run = subprocess.run(
        [sys.executable, str(ORACLE), str(folder), *arguments],
        cwd=folder,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-2_000:] + run.stderr[-6_000:]


def test_features_are_those_of_tensorflow_transform_itself(tmp_path):
    compared(tmp_path)


@pytest.mark.slow
def test_neither_other_splits_nor_order_nor_cutting_count_and_a_second_run_is_the_same(tmp_path):
    compared(tmp_path, "long")
