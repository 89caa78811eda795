"""The examples in docstrings run as written: those of every module that has one to run."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import headrace
import pytest

PACKAGES = ("pipelines", "components", "transforms", "kubeflow")
ROOT = Path(__file__).resolve().parents[1]


def modules_with_examples() -> list[str]:
    found = []
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            lines = file.read_text(encoding="utf-8").splitlines()
            if any(line.lstrip().startswith(">>> ") and "+SKIP" not in line for line in lines):
                parts = file.relative_to(ROOT).with_suffix("").parts
                found.append(".".join([headrace.__name__, *(part for part in parts if part != "__init__")]))
    return found


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted and not result.failed
