"""The digits of scikit-learn as image files, and a table of what can be measured in each.

The 1,797 images are the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, UCI Machine
Learning Repository, 1998): 8 x 8 pixels of 17 greys. Who wrote which the package does not say.

    python -m examples.digits.data FOLDER
"""

from __future__ import annotations

import csv
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TABLE, IMAGES, SCHEMA = "digits.csv", "images", "schema.pbtxt"
MEASURES = ("ink", "height", "width", "row", "column", "slant", "top_heavy", "holes")
HERE = Path(__file__).parent
GREYS = 16
# Half of the darkest: what counts as ink where a pixel is ink or is not.
INK = GREYS / 2


class Files(NamedTuple):
    """Where the data lies: the table, the folder of images that it names, and what is stated of its schema."""

    table: str
    images: str
    schema: str


def files() -> Files:
    """Finds the data, and writes it first where nobody has.

    A pipeline that is compiled for a cluster reads it where its pods can: DIGITS_DATA=s3://bucket/digits
    """
    if folder := os.environ.get("DIGITS_DATA"):
        return Files(*(f"{folder.rstrip('/')}/{name}" for name in (TABLE, IMAGES, SCHEMA)))
    home = HERE.parents[1] / ".headrace" / "data" / "digits"
    # The table is written last.
    if not (home / TABLE).is_file():
        write(home)
    return Files(str(home / TABLE), str(home / IMAGES), str(HERE / SCHEMA))


def write(folder: Path) -> None:
    """Writes every digit as a PNG file, and the table.

    Args:
        folder: `images/<digit>/<number>.png`, `digits.csv` and `schema.pbtxt` are written into it.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = []
    for number, (image, digit) in enumerate(zip(digits.images, digits.target)):
        name = f"{digit}/{number:04}.png"
        path = folder / IMAGES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Each of the 17 greys has one of the 256 of its own, so that nothing is lost.
        Image.fromarray(np.round(image * (255 / GREYS)).astype(np.uint8)).save(path)
        rows.append({"file": name, "digit": int(digit), **measured(image)})
    shutil.copy(HERE / SCHEMA, folder)
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".part", newline="", delete=False) as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    Path(file.name).replace(folder / TABLE)


def measured(image: npt.NDArray[np.float64]) -> dict[str, Any]:
    """What can be said of a digit in a few numbers.

    Args:
        image: 8 x 8, from 0 (paper) to 16 (ink).

    Returns:
        ink: The share of ink, of all that there could be.
        height, width: Of the box around the ink, in pixels.
        row, column: The ink's centre of mass, in pixels from the upper left.
        slant: How far the ink moves to the right for each pixel down (the regression of column on row).
        top_heavy: The upper half's share of the ink.
        holes: How many pieces of paper are closed in by ink: a 0, 4, 6 or 9 has one, an 8 two, if it is drawn closed.

    >>> import numpy as np
    >>> ring = np.zeros((8, 8)); ring[2:6, 2:6] = 16; ring[3:5, 3:5] = 0
    >>> measured(ring)["holes"], measured(ring)["height"], measured(ring)["row"]
    (1, 4, 3.5)
    """
    import numpy as np

    rows, columns = np.indices(image.shape)
    total = image.sum()
    row, column = (image * rows).sum() / total, (image * columns).sum() / total
    spread = (image * (rows - row) ** 2).sum()
    inked = np.argwhere(image >= INK)
    height, width = inked.max(axis=0) - inked.min(axis=0) + 1
    return {
        "ink": round(total / (GREYS * image.size), 4),
        "height": int(height),
        "width": int(width),
        "row": round(row, 3),
        "column": round(column, 3),
        "slant": round((image * (rows - row) * (columns - column)).sum() / spread, 4),
        "top_heavy": round(image[:4].sum() / total, 4),
        "holes": _holes(image < INK),
    }


def _holes(paper: npt.NDArray[np.bool_]) -> int:
    """Pieces of paper, beside the one around the digit, that hang together by their sides."""
    import numpy as np

    left = np.pad(paper, 1, constant_values=True)
    pieces = 0
    while left.any():
        pieces += 1
        stack = [tuple(np.argwhere(left)[0])]
        while stack:
            y, x = stack.pop()
            if 0 <= y < left.shape[0] and 0 <= x < left.shape[1] and left[y, x]:
                left[y, x] = False
                stack += [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
    return pieces - 1


if __name__ == "__main__":
    write(Path(sys.argv[1]))
