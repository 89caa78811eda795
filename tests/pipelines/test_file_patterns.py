"""File patterns: folders, files, globs, spans, versions, days, windows, remote objects, and the content digest."""

from __future__ import annotations

import datetime
import json
import os
import re
import time
from pathlib import Path

import fsspec
import pytest
from headrace.pipelines.errors import DataError
from headrace.pipelines.file_patterns import ResolvedFiles, _regex, content_digest, resolve, resolve_splits
from hypothesis import given
from hypothesis import strategies as st

from tests.s3_server import s3_bucket


def write(path: Path, text: str = "x\n1\n", age: float = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if age:
        os.utime(path, (time.time() - age, time.time() - age))
    return path


def names(found: ResolvedFiles, root: Path) -> list[str]:
    return [str(Path(path).relative_to(root)) for path in found.paths]


def test_a_folder_means_its_own_data_files(tmp_path):
    for name in (
        "b.csv",
        "a.csv.gz",
        "c.csv.zip",
        "d.parquet",
        "E.CSV",
        "_SUCCESS.csv",
        ".hidden.csv",
        "notes.txt",
        "sub/e.csv",
    ):
        write(tmp_path / name)
    assert names(resolve(tmp_path), tmp_path) == ["E.CSV", "a.csv.gz", "b.csv", "c.csv.zip", "d.parquet"]
    assert resolve(tmp_path) == resolve(f"{tmp_path}/") or resolve(f"{tmp_path}/").paths == resolve(tmp_path).paths


def test_a_file_and_globs(tmp_path):
    for name in ("a.csv", "b.csv", "s/c.csv", "s/t/d.csv", "x[1].csv"):
        write(tmp_path / name)
    assert names(resolve(tmp_path / "a.csv"), tmp_path) == ["a.csv"]
    assert names(resolve(tmp_path / "x[1].csv"), tmp_path) == ["x[1].csv"]  # a real name wins over a glob
    assert names(resolve(tmp_path / "[ab].csv"), tmp_path) == ["a.csv", "b.csv"]
    assert names(resolve(tmp_path / "s" / "**" / "*.csv"), tmp_path) == ["s/c.csv", "s/t/d.csv"]
    assert names(resolve(tmp_path / "*"), tmp_path) == ["a.csv", "b.csv", "s/c.csv", "x[1].csv"]


def test_relative_paths_stay_relative(tmp_path, monkeypatch):
    write(tmp_path / "data" / "a.csv")
    monkeypatch.chdir(tmp_path)
    assert resolve("data").paths == resolve("data/*.csv").paths == ("data/a.csv",)


def test_spans_versions_and_window(tmp_path):
    for span, version in ((1, 1), (2, 1), (2, 10), (2, 9), (10, 1)):
        write(tmp_path / f"span-{span}" / f"v{version}" / "rows.csv")
    pattern = f"{tmp_path}/span-{{SPAN}}/v{{VERSION}}/*.csv"
    newest = resolve(pattern)
    assert (newest.spans, newest.versions) == ((10,), (1,))
    both = resolve(pattern, window=2)
    assert (both.spans, both.versions) == ((2, 10), (10, 1))
    assert names(both, tmp_path) == ["span-2/v10/rows.csv", "span-10/v1/rows.csv"]
    assert resolve(pattern, window=99).spans == (1, 2, 10)
    assert resolve(pattern, span=2).versions == (10,)
    assert resolve(pattern, span=2, version=9).versions == (9,)
    assert resolve(f"{tmp_path}/span-2/v{{VERSION}}").versions == (10,)
    assert ResolvedFiles.from_json(json.loads(json.dumps(both.to_json()))) == both


def test_widths_and_repeated_placeholders(tmp_path):
    for name in ("0007/part-0007.csv", "0008/part-0007.csv", "12345/part-12345.csv"):
        write(tmp_path / name)
    found = resolve(f"{tmp_path}/{{SPAN:4}}/part-{{SPAN:4}}.csv", window=5)
    assert names(found, tmp_path) == ["0007/part-0007.csv"]


def test_days(tmp_path):
    for name in ("2024-02-28", "2024-02-29", "2024-03-01", "2024-02-31", "2024-3-02"):
        write(tmp_path / name / "a.csv")
    found = resolve(f"{tmp_path}/{{YYYY}}-{{MM}}-{{DD}}", window=2)
    assert names(found, tmp_path) == ["2024-02-29/a.csv", "2024-03-01/a.csv"]
    assert found.spans[-1] == (datetime.date(2024, 3, 1) - datetime.date(1970, 1, 1)).days


@pytest.mark.parametrize(
    ("pattern", "keywords", "message"),
    [
        ("{root}/nothing.csv", {}, "no such file or folder; nearest in .*there is: .*nothings.csv"),
        ("{root}/nope/*.csv", {}, "no file matches"),
        ("{root}/empty", {}, "the folder has no file ending in"),
        ("{root}/deep", {}, r"Its subfolders have some: give '.*/deep/\*/\*\.csv'"),
        ("{root}/{{SPAN}}/*.csv", {"span": 4}, "no file of span 4; spans there: 3"),
        ("{root}/{{SPAN}}/v{{VERSION}}.csv", {"version": 4}, "no file of version 4; versions there: 1"),
        ("{root}/x{{SPAN}}/*.csv", {}, "no path has a span"),
        ("{root}/{{SPAM}}/*.csv", {}, "SPAM.* is not a placeholder"),
        ("{root}/{{YYYY}}-{{MM}}/*.csv", {}, "A span is either"),
        ("{root}/*.csv", {"window": 2}, "choose among spans"),
        ("{root}/*.csv", {"version": 2}, "has no {VERSION}"),
        ("{root}/{{SPAN}}/*.csv", {"window": 0}, "at least 1 span"),
    ],
)
def test_errors_say_what_was_looked_for(tmp_path, pattern, keywords, message):
    write(tmp_path / "nothings.csv")
    write(tmp_path / "3" / "v1.csv")
    write(tmp_path / "deep" / "er" / "a.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        resolve(pattern.format(root=tmp_path), **keywords)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_one_pattern_per_split(tmp_path):
    for name in ("1/train/a.csv", "1/eval/a.csv", "2/train/a.csv", "2/eval/a.csv"):
        write(tmp_path / name)
    found = resolve_splits(tmp_path, {"train": "{SPAN}/train/*", "eval": "{SPAN}/eval/*"})
    assert {split: names(files, tmp_path) for split, files in found.items()} == {
        "train": ["2/train/a.csv"],
        "eval": ["2/eval/a.csv"],
    }
    with pytest.raises(DataError, match="in both split"):
        resolve_splits(tmp_path, {"train": "1/*/*", "eval": "1/eval/*"})
    write(tmp_path / "3/train/a.csv")
    with pytest.raises(DataError, match=r"has spans \[3\], split 'eval' has \[2\]"):
        resolve_splits(tmp_path, {"train": "{SPAN}/train/*", "eval": "{SPAN}/eval/*"})


def test_remote_objects(tmp_path):
    memory = fsspec.filesystem("memory")
    for name in ("/fp/1/a.csv", "/fp/2/a.csv", "/fp/2/b.csv", "/fp/2/_x.csv"):
        memory.pipe(name, b"x\n1\n")
    assert resolve("memory://fp/{SPAN}/*.csv", window=1).spans == (2,)
    found = resolve("memory://fp/2")
    assert [path.rpartition("/")[2] for path in found.paths] == ["a.csv", "b.csv"]
    assert all(path.startswith("memory://") for path in found.paths)
    one = content_digest(resolve("memory://fp/2/a.csv").files)
    assert one == content_digest(resolve("memory://fp/1/a.csv").files)  # no ETag there: the content counts
    with pytest.raises(DataError, match="no such file"):
        resolve("memory://fp/3/a.csv")


def test_objects_count_by_etag(monkeypatch):
    with s3_bucket() as (bucket, _):
        s3 = fsspec.filesystem("s3")
        s3.pipe(f"{bucket}/2024-01-01/a.csv", b"x\n1\n")
        pattern = f"{bucket}/{{YYYY}}-{{MM}}-{{DD}}/*.csv"
        first = resolve(pattern)
        assert first.paths == (f"{bucket}/2024-01-01/a.csv",) and first.files[0].etag.startswith("etag:")
        s3.pipe(f"{bucket}/2024-01-01/a.csv", b"x\n2\n")
        s3.pipe(f"{bucket}/2024-01-02/a.csv", b"x\n1\n")
        newest, before = resolve(pattern), resolve(f"{bucket}/2024-01-01/")
        assert newest.paths == (f"{bucket}/2024-01-02/a.csv",)
        monkeypatch.setattr("headrace.pipelines.file_patterns._remote_digest", None)  # nothing is read
        assert content_digest(newest.files) == content_digest(first.files) != content_digest(before.files)


class Memo(dict):
    def get(self, *key):
        return super().get(key)

    def put(self, *key_and_digest):
        self[key_and_digest[:4]] = key_and_digest[4]


def test_the_digest_counts_content_and_order_not_place(tmp_path):
    a, b = write(tmp_path / "a.csv", "x\n1\n"), write(tmp_path / "b.csv", "x\n2\n")
    copy = write(tmp_path / "copy" / "z.csv", "x\n1\n")
    digest = content_digest(resolve(a).files)
    assert digest == content_digest(resolve(copy).files) != content_digest(resolve(b).files)
    assert content_digest(resolve(tmp_path / "[ab].csv").files) not in (digest, content_digest(resolve(b).files))


def test_a_settled_file_is_read_once_and_a_fresh_one_every_time(tmp_path):
    memo = Memo()
    old = write(tmp_path / "old.csv", "x\n1\n", age=60)
    first = content_digest(resolve(old).files, memo)
    assert len(memo) == 1
    memo[next(iter(memo))] = "remembered"
    assert content_digest(resolve(old).files, memo) != first  # it asked the memo, not the file

    fresh = write(tmp_path / "fresh.csv", "x\n1\n")
    before = content_digest(resolve(fresh).files, memo)
    assert len(memo) == 1
    stat = fresh.stat()
    fresh.write_text("x\n2\n")  # same size, same inode, and its time put back: the racy case
    os.utime(fresh, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert content_digest(resolve(fresh).files, memo) != before


def test_a_file_that_is_gone(tmp_path):
    found = resolve(write(tmp_path / "a.csv"))
    (tmp_path / "a.csv").unlink()
    with pytest.raises(DataError, match="is gone"):
        content_digest(found.files)


@given(span=st.integers(0, 10**6), version=st.integers(0, 999), name=st.text("ab.[]+()", min_size=1, max_size=6))
def test_numbers_are_read_back_from_any_path(span, version, name):
    literal = re.sub(r"([\[])", r"[\1]", name)
    matched = _regex(f"/d/{literal}-{{SPAN}}/{{VERSION:3}}/*.csv").match(f"/d/{name}-{span}/{version:03}/x.csv")
    assert matched and (int(matched["SPAN"]), int(matched["VERSION"])) == (span, version)
