"""Naming a component loads nothing heavy: `headrace check` must answer at once."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("apache_beam", "duckdb", "google.protobuf", "keras", "numpy", "pandas", "pyarrow", "sqlalchemy", "tensorflow")


def test_naming_every_component_imports_nothing_heavy() -> None:
    code = f"""
import sys
import headrace.components as components
for name in components.__all__:
    getattr(components, name)
print([name for name in {HEAVY} if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
