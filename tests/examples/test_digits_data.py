"""Facts of the digits' data: the files hold scikit-learn's numbers, and the measures are what SciPy measures."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"digits_{name}", DIGITS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


data = load("data")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("digits")
    data.write(made)
    return made


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / data.TABLE).open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_digit_is_a_file_that_holds_its_seventeen_greys(folder: Path, rows: list[dict[str, str]]) -> None:
    digits = load_digits()
    assert len(rows) == len(digits.images) == len(list((folder / data.IMAGES).rglob("*.png")))
    for row, expected, digit in zip(rows, digits.images, digits.target, strict=True):
        image = Image.open(folder / data.IMAGES / row["file"])
        assert image.mode == "L" and image.size == (8, 8)
        assert np.array_equal(np.round(np.asarray(image) / (255 / 16)), expected)
        assert int(row["digit"]) == digit and row["file"].startswith(f"{digit}/")


def test_the_measures_are_those_of_the_image(rows: list[dict[str, str]]) -> None:
    assert list(rows[0]) == ["file", "digit", *data.MEASURES]
    for row, image in list(zip(rows, load_digits().images))[::7]:
        y, x = ndimage.center_of_mass(image)
        assert (float(row["row"]), float(row["column"])) == pytest.approx((y, x), abs=1e-3)
        assert float(row["ink"]) == pytest.approx(image.mean() / 16, abs=1e-4)
        down, across = ndimage.find_objects((image >= 8).astype(int))[0]
        assert (int(row["height"]), int(row["width"])) == (down.stop - down.start, across.stop - across.start)
        pieces = ndimage.label(np.pad(image < 8, 1, constant_values=True))[1]
        assert int(row["holes"]) == pieces - 1
        assert 0 <= float(row["top_heavy"]) <= 1 and abs(float(row["slant"])) < 2


def test_the_measures_tell_something_of_the_digit(rows: list[dict[str, str]]) -> None:
    holes = {digit: np.mean([int(row["holes"]) for row in rows if row["digit"] == str(digit)]) for digit in range(10)}
    # Not 1 and 2: on 8 x 8 pixels many a loop stays open, or has no pixel inside.
    assert min(holes[digit] for digit in (0, 6, 8)) > 5 * max(holes[digit] for digit in (1, 2, 3, 5, 7))


def test_files_are_in_a_bucket_where_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_DATA", "s3://bucket/digits/")
    assert data.files() == tuple(f"s3://bucket/digits/{name}" for name in ("digits.csv", "images", "schema.pbtxt"))
