"""Serves a SavedModel with TensorFlow alone: sends arrays to its signatures, in batches and row by row.

`python -I -S FOLDER REQUEST.json REQUEST.npz RESPONSE.json RESPONSE.npz`, where FOLDER is this one. It imports nothing
of Headrace's or the author's, and no Python of TensorFlow's: its C library runs the graph, as in a server.
Without `site` nothing of what is installed runs as it starts; where NumPy and TensorFlow are, the request says.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def main(request: str, arrays: str, response: str, answers: str) -> None:
    """Reads the request and writes the answers."""
    with open(request, encoding="utf-8") as file:  # noqa: PTH123 (no more imports than needed)
        asked = json.load(file)
    sys.path.extend(asked["packages"])
    from arrays_file import read, write  # type: ignore[import-not-found]  # beside this file
    from saved_model_session import SavedModelFailed  # type: ignore[import-not-found]

    said: dict[str, Any] = {"error": ""}
    made: dict[str, np.ndarray] = {}
    try:
        made = _answers(asked, read(arrays))
    except SavedModelFailed as error:
        said["error"] = str(error)
    write(answers, made)
    with open(response, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(said, file)


def _answers(asked: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    from saved_model_session import SavedModelFailed, SavedModelSession

    session = SavedModelSession(asked["saved_model"])
    made = {}
    for call in asked["calls"]:
        feeds = {tensor: arrays[name] for tensor, name in call["feeds"].items()}
        count, size = asked["rows"], asked["batch"]
        try:
            batches = [_run(session, feeds, call, slice(at, min(at + size, count))) for at in range(0, count, size)]
            single = [_run(session, feeds, call, slice(row, row + 1)) for row in asked["single"]]
        except SavedModelFailed as error:
            raise SavedModelFailed(f"{call['name']}: {error}") from error
        for how, pieces in (("batches", batches), ("single", single)):
            for name in call["fetches"] if pieces else ():
                made[f"{call['name']}/{how}/{name}"] = _joined([piece[name] for piece in pieces])
    return made


def _run(session: Any, feeds: dict[str, np.ndarray], call: dict[str, Any], rows: slice) -> dict[str, np.ndarray]:
    from saved_model_session import SavedModelFailed

    fetches = call["fetches"]
    found = session.run({tensor: values[rows] for tensor, values in feeds.items()}, list(fetches.values()))
    for name, values in zip(fetches, found):
        if values.shape[:1] != (rows.stop - rows.start,):
            sizes = f"expected {rows.stop - rows.start} rows of {name}, received shape {values.shape}"
            raise SavedModelFailed(f"{sizes}, from row {rows.start}")
    return dict(zip(fetches, found))


def _joined(pieces: list[np.ndarray]) -> np.ndarray:
    """Pieces of rows, one below the other."""
    import numpy as np
    from saved_model_session import SavedModelFailed

    widest = max(piece.shape[1:] for piece in pieces)
    if any(piece.shape[1:] != widest for piece in pieces):
        raise SavedModelFailed(f"an output has rows of several shapes: {pieces[0].shape[1:]} and {widest}")
    return np.concatenate(pieces)


if __name__ == "__main__":
    main(*sys.argv[1:])
