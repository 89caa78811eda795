"""Errors in the author's own functions, told by the author's own lines: Keras' and TensorFlow's frames come after."""

from __future__ import annotations

import linecache
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from headrace.pipelines.errors import HeadraceError, UserCodeError

_FOREIGN = tuple(
    {
        str(Path(path).resolve()) + "/"
        for name, path in sysconfig.get_paths().items()
        if name in ("stdlib", "purelib", "platlib")
    }
)
_OURS = str(Path(__file__).resolve().parents[1]) + "/"
_OUR_FOLDERS = tuple(_OURS + folder + "/" for folder in ("components", "pipelines", "transforms"))


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Raises an error that comes from the author's code as a UserCodeError that names its line.

    Args:
        what: What was running, such as "build_model".

    Raises:
        UserCodeError: From the original error, whose traceback is then the author's frames; the whole one is printed to
            the step's log.
    """
    try:
        yield
    except HeadraceError:
        raise
    except Exception as error:
        frames = [tb for tb in _frames(error.__traceback__) if _is_the_authors(tb.tb_frame.f_code.co_filename)]
        if not frames:
            raise
        traceback.print_exception(error, file=sys.stderr)
        last = frames[-1]
        file, line = last.tb_frame.f_code.co_filename, last.tb_lineno
        source = linecache.getline(file, line).strip()
        said = f"{what} raised {type(error).__name__}: {error}\n    at {file}:{line}, in {last.tb_frame.f_code.co_name}"
        told = UserCodeError(said + (f"\n        {source}" if source else ""))
        raise told from error.with_traceback(_linked(frames))


def _frames(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


def _is_the_authors(file: str) -> bool:
    if file.startswith("<") or "__autograph_generated" in file:
        return False
    path = str(Path(file).resolve())
    return not path.startswith((*_FOREIGN, *_OUR_FOLDERS)) and "/site-packages/" not in path


def _linked(frames: list[TracebackType]) -> TracebackType | None:
    linked: TracebackType | None = None
    for tb in reversed(frames):
        linked = TracebackType(linked, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)
    return linked
