"""What every test may use: golden files, which one switch writes anew; and no test leaves folders to import from."""

from __future__ import annotations

import difflib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So a shell starts what runs in its background: every process of a test would ignore Ctrl-C as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-golden", action="store_true", help="write the files in tests/golden anew")


@pytest.fixture(autouse=True)
def _imports_from_no_other_test() -> Iterator[None]:
    """What runs in this process puts its project on `sys.path`, where a later test would meet a module of that name."""
    before = set(sys.path)
    yield
    sys.path[:] = [entry for entry in sys.path if entry in before]


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with `tests/golden/NAME`: `golden(name, text)`."""

    def check(name: str, text: str) -> None:
        file = GOLDEN / name
        if request.config.getoption("--rewrite-golden"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            return
        assert file.is_file(), f"no {file}: pytest --rewrite-golden"
        expected = file.read_text(encoding="utf-8")
        if text != expected:
            lines = difflib.unified_diff(expected.splitlines(), text.splitlines(), str(file), "now", lineterm="", n=2)
            pytest.fail("\n".join([*lines, "", "if this is meant: pytest --rewrite-golden"]), pytrace=False)

    return check
