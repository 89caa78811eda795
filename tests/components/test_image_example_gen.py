"""ImageExampleGen: folders and tables of images, bad ones with their place, and no picture in two splits."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headrace.components import ExampleValidator, ImageExampleGen, ParquetExampleGen, SchemaGen, StatisticsGen
from headrace.components.ingest import SingleSplit, Source, image_ingest, parquet_ingest
from headrace.pipelines import Pipeline, PipelineError
from headrace.pipelines.errors import DataError
from PIL import Image


def encoded(seed: int, mode: str = "L", kind: str = "PNG", size: tuple[int, int] = (8, 6)) -> bytes:
    """A noisy image as the bytes of its file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 4), np.uint8)
    image = Image.fromarray(pixels).convert("RGB").convert(mode) if mode != "RGBA" else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


SIXTEEN_BITS = io.BytesIO()
Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000).save(SIXTEEN_BITS, "PNG")
GIF = io.BytesIO()
Image.new("L", (3, 3)).save(GIF, "GIF")

BAD = {
    "cut": (encoded(1)[:60], "cannot be decoded"),
    "cut-jpeg": (encoded(1, kind="JPEG")[:200], "cannot be decoded"),
    "no-end": (encoded(1)[:-4], "cannot be decoded|without its end"),
    "no-end-jpeg": (encoded(1, kind="JPEG")[:-2], "without its end|cannot be decoded"),
    "flipped": (encoded(1)[:50] + b"\0\0\0" + encoded(1)[53:], "cannot be decoded"),
    "text": (b"not an image", "is no PNG or JPEG: it begins with b'not an image'"),
    "gif": (GIF.getvalue(), "is no PNG or JPEG: it is a GIF"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "empty": (b"", "is empty"),
    "mode": (encoded(1, "RGB"), "has the mode RGB, expected L"),
    "cmyk": (encoded(1, "CMYK", "JPEG"), "is CMYK"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """24 images in folders of three classes, and a table of them."""
    rows = []
    for n in range(24):
        name = f"{'abc'[n % 3]}/{n:02}.{'png' if n % 2 else 'jpg'}"
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(n, kind="PNG" if n % 2 else "JPEG"))
        rows.append({"photo": name, "who": f"w{n % 5}", "day": f"2024-01-{1 + n:02}", "size": n})
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def make(out: Path, **arguments: Any) -> Any:
    return ImageExampleGen.call(out_dir=out, **{"splits": {"all": 1}, **arguments})


def test_a_folder_of_class_folders(folder, tmp_path):
    found = make(tmp_path / "o", input_base=str(folder / "images"), label_column="kind").examples
    rows = found.read("all").to_pylist()
    assert [str(field.type) for field in found.schema] == ["binary", "string", "string"]
    assert [row["path"] for row in rows] == sorted(
        str(path.relative_to(folder / "images")) for path in (folder / "images").rglob("*.*")
    )
    for row in rows:
        assert row["image"] == (folder / "images" / row["path"]).read_bytes()
        assert row["kind"] == row["path"].partition("/")[0]


def test_a_glob_takes_what_it_names_and_hidden_folders_are_no_class(folder, tmp_path):
    (folder / "images" / ".thumbs").mkdir()
    (folder / "images" / ".thumbs" / "x.png").write_bytes(b"no image")
    everything = make(tmp_path / "all", input_base=str(folder / "images")).examples
    some = make(tmp_path / "some", input_base=f"{folder}/images/*/*.png", path_column="file").examples
    assert everything.rows == {"all": 24} and some.rows == {"all": 12}
    assert set(some.read("all")["file"].to_pylist()) == {
        path for path in everything.read("all")["path"].to_pylist() if path.endswith(".png")
    }


def test_a_table_names_files_or_has_their_bytes(folder, tmp_path):
    named = make(
        tmp_path / "n", input_base=str(folder / "table.csv"), path_column="photo", images=str(folder / "images")
    )
    table = named.examples.read("all")
    assert named.warnings == () and table.schema.names == ["image", "photo", "who", "day", "size"]
    for row in table.to_pylist():
        assert row["image"] == (folder / "images" / row["photo"]).read_bytes()
    pq.write_table(table, tmp_path / "bytes.parquet")
    held = make(tmp_path / "b", input_base=str(tmp_path / "bytes.parquet")).examples
    assert held.digest == named.examples.digest


def test_images_behind_a_url(folder, tmp_path):
    remote = fsspec.filesystem("memory")
    remote.put(str(folder / "images"), "/bucket/images", recursive=True)
    remote.put(str(folder / "table.csv"), "/bucket/table.csv")
    named = {"path_column": "photo", "splits": {"all": 1}}
    for arguments in (
        {"input_base": "{}/images", "label_column": "kind"},
        {"input_base": "{}/images/*/*.png", "label_column": "kind"},
        {"input_base": "{}/table.csv", "images": "{}/images", **named},
    ):
        digests = []
        for place in (str(folder), "memory://bucket"):
            given = {
                name: value.format(place) if isinstance(value, str) else value for name, value in arguments.items()
            }
            digests.append(
                make(tmp_path / f"{len(digests)}{len(given)}{given['input_base'][-3:]}", **given).examples.digest
            )
        assert digests[0] == digests[1]


def test_a_missing_image_is_null_however_it_is_written(folder, tmp_path):
    with (folder / "table.csv").open("a") as file:
        file.write(",w9,2024-02-01,99\n")
    named = make(
        tmp_path / "n", input_base=str(folder / "table.csv"), path_column="photo", images=str(folder / "images")
    )
    assert named.examples.read("all")["image"].null_count == 1
    pq.write_table(pa.table({"image": [encoded(0), b"", None], "n": [0, 1, 2]}), tmp_path / "b.parquet")
    held = make(tmp_path / "b", input_base=str(tmp_path / "b.parquet"), pixels=[6, 8, 1]).examples.read("all")
    assert held["image"].to_pylist()[1:] == [None, None] and held["image_pixels"].null_count == 2


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_told_with_its_place(tmp_path, name):
    data, said = BAD[name]
    folder = tmp_path / "images"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.png").write_bytes(encoded(n))
    (folder / "1.png").write_bytes(data)
    (tmp_path / "t.csv").write_text("n,photo\n0,0.png\n1,1.png\n2,2.png\n")
    table = {"input_base": str(tmp_path / "t.csv"), "path_column": "photo", "images": str(folder), "modes": ["L"]}
    with pytest.raises(DataError, match=said) as caught:
        make(tmp_path / "f", input_base=str(folder), modes=["L"])
    assert (caught.value.file, caught.value.row) == (str(folder / "1.png"), None) and "quarantine" in caught.value.fix
    with pytest.raises(DataError, match=said) as caught:
        make(tmp_path / "t", **table)
    error = caught.value
    assert (error.file, error.row, error.column, error.value) == (str(tmp_path / "t.csv"), 2, "photo", "1.png")
    aside = make(tmp_path / "q", on_bad_row="quarantine", **table)
    assert aside.examples.read("all")["n"].to_pylist() == [0, 2] and "1 bad row was set aside" in aside.warnings[0]
    [row] = aside.quarantined.read().to_pylist()
    assert (row["file"], row["row"], row["column"], row["text"]) == (str(tmp_path / "t.csv"), 2, "photo", "1.png")


def test_bad_bytes_in_a_table_are_told_by_row_and_column(tmp_path):
    pq.write_table(pa.table({"scan": [encoded(0), b"\x89PNG but no more"], "n": [0, 1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"scan": [encoded(2), encoded(3)[:50]], "n": [2, 3]}), tmp_path / "b.parquet")
    given = {"input_base": f"{tmp_path}/*.parquet", "image_column": "scan"}
    with pytest.raises(DataError, match="begins as an image and then is none") as caught:
        make(tmp_path / "o", **given)
    assert (caught.value.file, caught.value.row, caught.value.column) == (str(tmp_path / "a.parquet"), 2, "scan")
    aside = make(tmp_path / "q", on_bad_row="quarantine", **given)
    assert aside.examples.read("all")["n"].to_pylist() == [0, 2]
    places = [(row["file"], row["row"]) for row in aside.quarantined.read().to_pylist()]
    assert places == [(str(tmp_path / "a.parquet"), 2), (str(tmp_path / "b.parquet"), 2)]


def test_a_path_that_names_no_image_is_a_bad_row_and_an_unnamed_image_a_warning(folder, tmp_path):
    (folder / "images" / "a" / "spare.png").write_bytes(encoded(99))
    with (folder / "table.csv").open("a") as file:
        file.write("a/none.png,w9,2024-02-01,99\n../table.csv,w9,2024-02-01,99\n")
    given = {"input_base": str(folder / "table.csv"), "path_column": "photo", "images": str(folder / "images")}
    with pytest.raises(DataError, match="names no image: images= has 25 files") as caught:
        make(tmp_path / "o", **given)
    assert (caught.value.row, caught.value.value) == (25, "a/none.png")
    aside = make(tmp_path / "q", on_bad_row="quarantine", **given)
    assert aside.examples.rows == {"all": 24} and aside.quarantined.rows == 2
    assert any("1 file of images= is named by no row" in one and "spare.png" in one for one in aside.warnings)


def test_nothing_but_bad_images_is_an_error_all_the_same(tmp_path):
    (tmp_path / "i").mkdir()
    (tmp_path / "i" / "x.png").write_bytes(b"x")
    with pytest.raises(DataError, match="all 1 rows were set aside, none is left"):
        make(tmp_path / "o", input_base=str(tmp_path / "i"), on_bad_row="quarantine")


def test_the_same_picture_is_in_one_split_whatever_it_is_called(tmp_path):
    for n in range(60):
        for name in ("first", "second"):
            (tmp_path / "i" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "i" / name / f"{n * 7 % 60}.png").write_bytes(encoded(n))
    found = make(tmp_path / "o", input_base=str(tmp_path / "i"), splits={"train": 1, "eval": 1}).examples.read()
    images = {split: set(table["image"].to_pylist()) for split, table in found.items()}
    assert not images["train"] & images["eval"] and min(map(len, images.values())) > 15
    assert all(found[split].num_rows == 2 * len(images[split]) for split in images)
    # And whatever else there is: more files move no row.
    (tmp_path / "i" / "third.png").write_bytes(encoded(1000))
    more = make(tmp_path / "m", input_base=str(tmp_path / "i"), splits={"train": 1, "eval": 1}).examples.read()
    assert all(images[split] <= set(more[split]["image"].to_pylist()) for split in images)


def test_splits_by_group_by_time_and_by_pattern(folder, tmp_path):
    table = {"input_base": str(folder / "table.csv"), "path_column": "photo", "images": str(folder / "images")}
    by_group = make(tmp_path / "g", **table, split_by="who", splits={"train": 1, "eval": 1}).examples.read()
    people = [set(by_group[split]["who"].to_pylist()) for split in ("train", "eval")]
    assert not people[0] & people[1] and people[0] | people[1] == {f"w{n}" for n in range(5)}
    by_time = make(tmp_path / "t", **table, split_by_time="day", boundaries=["2024-01-19"], splits=None).examples
    assert by_time.rows == {"train": 18, "eval": 6}
    patterns = {"train": f"{folder}/images/a", "eval": f"{folder}/images/[bc]/*"}
    by_pattern = make(tmp_path / "p", input_base=patterns, splits=None, label_column=None).examples
    assert by_pattern.rows == {"train": 8, "eval": 16}
    with pytest.raises(DataError, match="split_by names no column"):
        make(tmp_path / "x", **table, split_by="nobody", splits={"all": 1})


def test_how_the_rows_come_in_pieces_changes_nothing(folder, tmp_path, monkeypatch):
    given = {"input_base": str(folder / "images"), "label_column": "kind", "splits": {"train": 2, "eval": 1}}
    whole = make(tmp_path / "w", **given).examples
    pq.write_table(whole.read("train"), tmp_path / "t.parquet", row_group_size=5)
    from_table = make(tmp_path / "t", input_base=str(tmp_path / "t.parquet")).examples
    pixels = make(tmp_path / "x", **given, pixels=[6, 8, 1]).examples.digest
    monkeypatch.setattr(image_ingest, "PIECE_BYTES", 1)
    assert make(tmp_path / "p", **given).examples.digest == whole.digest
    assert make(tmp_path / "y", **given, pixels=[6, 8, 1]).examples.digest == pixels
    monkeypatch.setattr(image_ingest, "PIECE_BYTES", 1 << 30)
    monkeypatch.setattr(image_ingest, "PIECE_ROWS", 5)
    assert make(tmp_path / "q", **given).examples.digest == whole.digest
    monkeypatch.setattr(parquet_ingest, "BATCH_BYTES", 1)
    read = list(parquet_ingest.ingest_parquet([Source(str(tmp_path / "t.parquet"), SingleSplit("all"))]))
    assert {batch.num_rows for _, batch in read} == {1}
    assert make(tmp_path / "b", input_base=str(tmp_path / "t.parquet")).examples.digest == from_table.digest


def test_row_groups_are_bounded_by_the_bytes_of_their_images(tmp_path, monkeypatch):
    (tmp_path / "i").mkdir()
    for n in range(60):
        (tmp_path / "i" / f"{n:02}.png").write_bytes(encoded(n, size=(20, 25)))
    largest = max(path.stat().st_size for path in (tmp_path / "i").iterdir())
    monkeypatch.setattr("headrace.pipelines.examples.ROW_GROUP_BYTES", 5 * largest)
    found = make(tmp_path / "o", input_base=str(tmp_path / "i")).examples
    groups = [batch["image"].to_pylist() for batch in found.batches("all")]
    assert len(groups) >= 12 and max(sum(map(len, images)) for images in groups) <= 6 * largest
    assert sum(map(len, groups)) == 60


def test_later_data_that_is_no_image_is_an_anomaly(tmp_path, run):
    pq.write_table(pa.table({"image": [encoded(n) for n in range(8)]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": [encoded(9), b"II*\0 a TIFF", b"", b"BM"]}), tmp_path / "b.parquet")
    first, later = (
        ParquetExampleGen(input_base=str(tmp_path / name), splits={"all": 1}).with_id(name[0])
        for name in ("a.parquet", "b.parquet")
    )
    known = StatisticsGen(examples=first.outputs["examples"]).with_id("known")
    found = StatisticsGen(examples=later.outputs["examples"]).with_id("found")
    schema = SchemaGen(statistics=known.outputs["statistics"])
    check = ExampleValidator(statistics=found.outputs["statistics"], schema=schema.outputs["schema"])
    done = run(first, later, known, found, schema, check)
    [anomaly] = done["ExampleValidator"].outputs["anomalies"].read().anomaly_info.values()
    assert "expected PNG or JPEG images in at least 1 of the values, 3 of 4 are none" in anomaly.description


def test_pixels_are_those_of_the_file_or_resized(tmp_path):
    (tmp_path / "i").mkdir()
    for n, mode in enumerate(("L", "RGB", "RGBA", "P", "1", "LA")):
        (tmp_path / "i" / f"{n}.png").write_bytes(encoded(n, mode))
    grey = make(tmp_path / "g", input_base=str(tmp_path / "i"), pixels=[6, 8, 1]).examples
    assert grey.schema.field("image_pixels").type.value_type == pa.uint8()
    small = make(tmp_path / "s", input_base=str(tmp_path / "i"), pixels=[3, 4, 3]).examples.read("all")
    for row, halved in zip(grey.read("all").to_pylist(), small.to_pylist()):
        image = Image.open(io.BytesIO(row["image"]))
        assert row["image_pixels"] == np.asarray(image.convert("L")).reshape(-1).tolist()
        assert halved["image_pixels"] == np.asarray(image.convert("RGB").resize((4, 3), 2)).reshape(-1).tolist()
    (tmp_path / "i" / "16.png").write_bytes(SIXTEEN_BITS.getvalue())
    assert make(tmp_path / "ok", input_base=str(tmp_path / "i")).examples.rows == {"all": 7}
    with pytest.raises(DataError, match="16 bits a channel"):
        make(tmp_path / "x", input_base=str(tmp_path / "i"), pixels=[6, 8, 1])


def test_a_sample_has_images_of_every_folder(tmp_path, run: Callable[..., Any]):
    order = list(range(90))
    random.Random(0).shuffle(order)
    for n in order:
        (tmp_path / "i" / "abc"[n // 30]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "i" / "abc"[n // 30] / f"{n}.png").write_bytes(encoded(n))
    gen = ImageExampleGen(input_base=str(tmp_path / "i"), label_column="kind", splits={"all": 1})
    found = run(gen, sample=9)["ImageExampleGen"].outputs["examples"].read("all")
    assert sorted(found["kind"].to_pylist()) == [*"aaabbbccc"]


def test_an_image_has_its_domain_in_the_schema_and_no_value_in_statistics_or_report(folder, tmp_path, run):
    gen = ImageExampleGen(
        input_base=str(folder / "table.csv"), path_column="photo", images=str(folder / "images"), splits={"all": 1}
    )
    statistics = StatisticsGen(examples=gen.outputs["examples"])
    done = run(gen, statistics, SchemaGen(statistics=statistics.outputs["statistics"]), report=True)
    features = {feature.name: feature for feature in done["SchemaGen"].outputs["schema"].read().feature}
    assert features["image"].WhichOneof("domain_info") == "image_domain" and features["who"].type == 1
    [found] = [
        one
        for one in done["StatisticsGen"].outputs["statistics"].read().datasets[0].features
        if one.path.step[0] == "image"
    ]
    sizes = [len(path.read_bytes()) for path in (folder / "images").rglob("*.*")]
    assert found.bytes_stats.unique == 24 and found.bytes_stats.max_num_bytes_int == max(sizes)
    assert b"PNG" not in found.SerializeToString() and b"JFIF" not in found.SerializeToString()
    report = (Path(done.folder) / "report.html").read_text()
    assert "IHDR" not in report and "JFIF" not in report and "values hidden: bytes" in report


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"images": "i/"}, "images= without path_column="),
        ({"images": "i/", "path_column": "p", "label_column": "l"}, "images= and label_column="),
        ({"images": {"train": "i/"}, "path_column": "p"}, "images= by split"),
        ({"pixels": [8, 8]}, "is no shape"),
        ({"pixels": [8, 8, 2]}, "is no shape"),
        ({"modes": ["grey"]}, "modes= has 'grey'"),
        ({"splits": ["train"]}, "has no ratios"),
        ({"on_bad_row": "skip"}, "on_bad_row"),
    ],
)
def test_arguments_that_do_not_go_together_are_told_when_it_is_built(arguments, said):
    with pytest.raises(PipelineError, match=said):
        Pipeline("p", [ImageExampleGen(**{"input_base": "i/", **arguments})]).plan()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"input_base": "table.csv"}, "image_column names no column"),
        ({"input_base": "table.csv", "image_column": "who"}, "is string, expected the bytes of images"),
        ({"input_base": "table.csv", "path_column": "size", "images": "images"}, "expected the paths of image files"),
        ({"input_base": "table.csv", "path_column": "picture", "images": "images"}, "path_column names no column"),
        (
            {"input_base": "table.csv", "path_column": "photo", "images": "images", "image_column": "who"},
            "is a column of the table",
        ),
        ({"input_base": "table.csv", "label_column": "who", "image_column": "x"}, "is of images without a table"),
        ({"input_base": "images", "path_column": "p", "images": "images"}, "which a table names"),
        ({"input_base": "images/a", "label_column": "kind"}, "has nothing to say of it"),
        ({"input_base": "none"}, "no such file"),
    ],
)
def test_what_the_files_cannot_give_is_told(folder, tmp_path, arguments, said):
    placed = {
        name: str(folder / value) if name in ("input_base", "images") else value for name, value in arguments.items()
    }
    with pytest.raises(DataError, match=said):
        make(tmp_path / "o", **placed)
