"""Which files an `input_base` means, and a digest of what is in them.

    resolve("data/")                             every .csv, .csv.gz, .csv.zip, .parquet and TFRecord of a folder
    resolve("data/flights.csv.zip")              one file
    resolve("data/**/*.csv")                     a glob
    resolve("data/{SPAN}/*.csv")                 the newest span
    resolve("data/{YYYY}-{MM}-{DD}/v{VERSION}/*.parquet", window=7)
                                                 the last seven days, of each the newest version
    resolve("s3://bucket/data/*.parquet")        any fsspec URL

A *span* is one delivery of data (TFX's word): a number, or a day. A *version* is one correction of a span. `{SPAN:4}`
matches exactly four digits. A day's span number is the days since 1970-01-01, as in TFX.
"""

from __future__ import annotations

import datetime
import fnmatch
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from headrace.pipelines.errors import DataError
from headrace.pipelines.file_listing import FileEntry, find, inside, listing_of, nothing_found, open_fsspec

DATA_SUFFIXES = (".csv", ".csv.gz", ".csv.zip", ".parquet", ".tfrecord", ".tfrecord.gz")

RACY_NS = 2_000_000_000
"""A file changed less than this before it was read may change again within one timestamp (FAT's is 2 s)."""

_PLACEHOLDER = re.compile(r"\{(SPAN|VERSION|YYYY|MM|DD)(?::(\d+))?\}")
_DATE_WIDTHS = {"YYYY": 4, "MM": 2, "DD": 2}


@dataclass(frozen=True)
class ResolvedFiles:
    """What a pattern meant at one moment.

    Args:
        pattern: The pattern as it was given.
        files: Sorted by span, then path.
        spans: The spans taken, ascending; empty when the pattern has no span.
        versions: The version taken of each span, in the order of `spans`; empty when the pattern has none.

    >>> found = ResolvedFiles("a.csv", (FileEntry("a.csv", 3),))
    >>> ResolvedFiles.from_json(found.to_json()) == found
    True
    """

    pattern: str
    files: tuple[FileEntry, ...]
    spans: tuple[int, ...] = ()
    versions: tuple[int, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The files' paths, in order."""
        return tuple(entry.path for entry in self.files)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict; `from_json` reads it back."""
        return {
            "pattern": self.pattern,
            "files": [asdict(entry) for entry in self.files],
            "spans": list(self.spans),
            "versions": list(self.versions),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ResolvedFiles:
        """Reads what `to_json` wrote."""
        files = tuple(FileEntry(**entry) for entry in value["files"])
        return cls(value["pattern"], files, tuple(value["spans"]), tuple(value["versions"]))


class DigestMemo(Protocol):
    """Remembers the content digest of a file by what the filesystem says of it."""

    def get(self, path: str, size: int, mtime_ns: int, inode: int) -> str | None:
        """The digest remembered for exactly these, or None."""

    def put(self, path: str, size: int, mtime_ns: int, inode: int, digest: str) -> None:
        """Remembers a digest."""


def resolve(
    input_base: str | os.PathLike[str],
    *,
    window: int = 1,
    span: int | None = None,
    version: int | None = None,
    suffixes: tuple[str, ...] = DATA_SUFFIXES,
) -> ResolvedFiles:
    """Lists the files that a folder, file, glob or span pattern means.

    Args:
        input_base: Folder, file or glob, local or an fsspec URL, with any of `{SPAN}`, `{VERSION}` (each with an
            optional width, `{SPAN:4}`) and `{YYYY}`, `{MM}`, `{DD}`. A folder means its own files with one of
            `suffixes`, not its subfolders'; names that begin with `.` or `_` are skipped.
        window: How many of the last spans, of each the newest version.
        span: The newest span to take, instead of the newest there is.
        version: The version to take, instead of each span's newest.
        suffixes: Which files of a folder count; a folder that has none means the images in it and its subfolders.

    Returns:
        At least one file.

    Raises:
        DataError: No such file, no data in the folder, no such span; says what was looked for and what is there.

    >>> import tempfile, pathlib
    >>> root = pathlib.Path(tempfile.mkdtemp())
    >>> for day in ("7", "8", "9"):
    ...     (root / day).mkdir()
    ...     _ = (root / day / "rows.csv").write_text("x\\n1\\n")
    >>> resolve(f"{root}/{{SPAN}}/*.csv", window=2).spans
    (8, 9)
    """
    pattern = os.fspath(input_base)
    placeholders = {match[1] for match in _PLACEHOLDER.finditer(pattern)}
    _check(pattern, placeholders, window, span, version)
    if not placeholders:
        return ResolvedFiles(pattern, tuple(find(pattern, suffixes)))
    entries = _choose(list(_numbered(pattern, suffixes)), pattern, window, span, version)
    versions = {entry.span: entry.version for entry in entries if entry.version is not None}
    return ResolvedFiles(
        pattern,
        tuple(entries),
        tuple(sorted({entry.span for entry in entries if entry.span is not None})),
        tuple(versions[key] for key in sorted(versions, key=lambda number: number or 0)),
    )


def resolve_splits(
    input_base: str | os.PathLike[str], patterns: Mapping[str, str], *, window: int = 1, span: int | None = None
) -> dict[str, ResolvedFiles]:
    """Lists the files of each split when every split has a pattern of its own.

    Args:
        input_base: The folder that the patterns are relative to.
        patterns: Pattern by split name, e.g. `{"train": "{SPAN}/train/*.csv", "eval": "{SPAN}/eval/*.csv"}`.
        window: As in `resolve`; the splits must agree on the spans.
        span: As in `resolve`.

    Raises:
        DataError: As `resolve`; also when a file is in two splits, or one split has a span that another lacks.
    """
    base = os.fspath(input_base).rstrip("/")
    found = {
        split: resolve(f"{base}/{pattern}" if base else pattern, window=window, span=span)
        for split, pattern in patterns.items()
    }
    owner: dict[str, str] = {}
    for split, files in found.items():
        for path in files.paths:
            if path in owner:
                raise DataError(
                    f"in both split {owner[path]!r} and split {split!r}: its rows would be trained on and evaluated on",
                    fix="Make the splits' patterns disjoint.",
                    file=path,
                )
            owner[path] = split
    first, *others = found
    for split in others:
        if found[split].spans != found[first].spans:
            raise DataError(
                f"split {first!r} has spans {list(found[first].spans)}, split {split!r} has {list(found[split].spans)}",
                fix="Deliver every split of a span, or give span= to take one that all have.",
            )
    return found


def content_digest(files: Iterable[FileEntry], memo: DigestMemo | None = None) -> str:
    """A digest of what the files contain, in order; where they lie does not count.

    A local file's content is read unless `memo` knows it by path, size, mtime and inode. A digest is remembered only
    if the file is the same after it was read as before, and was last changed at least `RACY_NS` before it was read:
    git's rule for racily clean entries (Documentation/technical/racy-git.txt). A remote object counts by its ETag or
    version where the filesystem gives one.

    Args:
        files: Entries from `resolve`.
        memo: Where digests are remembered; None reads everything.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: A file is gone.
    """
    total = hashlib.sha256()
    for entry in files:
        total.update(f"{_file_digest(entry, memo)}\n".encode())
    return total.hexdigest()


def _file_digest(entry: FileEntry, memo: DigestMemo | None) -> str:
    if "://" in entry.path:
        return entry.etag or _remote_digest(entry)
    path = Path(entry.path)
    try:
        before = path.stat()
        key = (entry.path, before.st_size, before.st_mtime_ns, before.st_ino)
        known = memo.get(*key) if memo is not None else None
        if known is not None:
            return known
        started = time.time_ns()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = path.stat()
    except FileNotFoundError:
        raise DataError(
            "was listed and is gone", fix="Keep input files while a run reads them.", file=str(path)
        ) from None
    settled = started - before.st_mtime_ns >= RACY_NS
    if memo is not None and settled and (after.st_size, after.st_mtime_ns, after.st_ino) == key[1:]:
        memo.put(*key, digest)
    return digest


def _remote_digest(entry: FileEntry) -> str:
    filesystem, path = open_fsspec(entry.path)
    digest = hashlib.sha256()
    with filesystem.open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _check(pattern: str, placeholders: set[str], window: int, span: int | None, version: int | None) -> None:
    """Refuses placeholders and choices that contradict each other."""
    unknown = [name for name in re.findall(r"\{([^{}/]*)\}", pattern) if not _PLACEHOLDER.fullmatch(f"{{{name}}}")]
    if unknown:
        raise DataError(
            f"{{{unknown[0]}}} in {pattern!r} is not a placeholder",
            fix="Use {SPAN}, {VERSION}, {SPAN:4} for a width, or {YYYY}, {MM} and {DD}.",
        )
    date = placeholders & set(_DATE_WIDTHS)
    if date and (len(date) != 3 or "SPAN" in placeholders):
        raise DataError(
            f"{pattern!r} has {', '.join(sorted(placeholders))}",
            fix="A span is either {SPAN} or all of {YYYY}, {MM} and {DD}.",
        )
    if window < 1:
        raise DataError(f"window is {window}, expected at least 1 span", fix="Give window=1 for the newest span alone.")
    if not placeholders - {"VERSION"} and (window != 1 or span is not None):
        raise DataError(
            f"window={window}, span={span} choose among spans; {pattern!r} has no {{SPAN}} or {{YYYY}}-{{MM}}-{{DD}}",
            fix="Put the placeholder where the span's number or date stands in the path.",
        )
    if version is not None and "VERSION" not in placeholders:
        raise DataError(f"version={version}, but {pattern!r} has no {{VERSION}}", fix="Put {VERSION} in the path.")


def _numbered(pattern: str, suffixes: tuple[str, ...]) -> Iterator[FileEntry]:
    """Every file that the pattern matches, with its span and version read from its path."""
    listing = listing_of(pattern)
    pattern = pattern.removeprefix("file://")
    regex = _regex(pattern)
    seen: set[str] = set()
    for path in listing.glob(_PLACEHOLDER.sub(lambda match: "[0-9]" * _width(match) or "*", pattern)):
        matched = regex.match(path)
        if not matched:
            continue
        number = {name: int(text) for name, text in matched.groupdict().items()}
        span = number.get("SPAN")
        if "YYYY" in number:
            try:
                span = (datetime.date(number["YYYY"], number["MM"], number["DD"]) - datetime.date(1970, 1, 1)).days
            except ValueError:
                continue
        for entry in [listing.entry(path)] if listing.is_file(path) else inside(listing, path, suffixes):
            if entry.path not in seen:
                seen.add(entry.path)
                yield replace(entry, span=span, version=number.get("VERSION"))


def _width(match: re.Match[str]) -> int:
    """How many digits a placeholder stands for; 0 for any number."""
    return int(match[2]) if match[2] else _DATE_WIDTHS.get(match[1], 0)


def _regex(pattern: str) -> re.Pattern[str]:
    """The pattern as an expression over whole paths; a placeholder's second occurrence must repeat the first."""
    seen: set[str] = set()
    parts: list[str] = []
    position = 0
    for match in _PLACEHOLDER.finditer(pattern):
        parts.append(_glob_regex(pattern[position : match.start()]))
        name, position = match[1], match.end()
        digits = f"[0-9]{{{_width(match)}}}" if _width(match) else "[0-9]+"
        parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{digits})")
        seen.add(name)
    return re.compile("".join(parts) + _glob_regex(pattern[position:].rstrip("/")) + r"\Z", re.DOTALL)


def _glob_regex(text: str) -> str:
    """A glob as an expression: `*` and `?` stay within one folder, `**/` spans folders."""
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    out = []
    for piece in re.split(r"(\*\*/|\*\*|\*|\?|\[[^]/]+\])", text):
        if piece in special:
            out.append(special[piece])
        elif piece.startswith("[") and piece.endswith("]"):
            out.append(fnmatch.translate(piece).replace("(?s:", "(?:").rstrip("\\Zz"))
        else:
            out.append(re.escape(piece))
    return "".join(out)


def _choose(
    entries: list[FileEntry], pattern: str, window: int, span: int | None, version: int | None
) -> list[FileEntry]:
    """The last `window` spans up to `span`, of each the newest version or the one asked for."""
    if not entries:
        raise nothing_found(pattern, "no path has a span, version or date where the pattern has one")
    if version is not None:
        there = sorted({entry.version for entry in entries if entry.version is not None})
        entries = [entry for entry in entries if entry.version == version]
        if not entries:
            raise nothing_found(pattern, f"no file of version {version}; versions there: {_shown(there)}")
    spans = sorted({entry.span for entry in entries if entry.span is not None})
    if span is not None and span not in spans:
        raise nothing_found(pattern, f"no file of span {span}; spans there: {_shown(spans)}")
    chosen: set[int | None] = set([number for number in spans if span is None or number <= span][-window:])
    kept = [entry for entry in entries if entry.span in chosen or not spans]
    newest: dict[int | None, int] = {}
    for entry in kept:
        newest[entry.span] = max(newest.get(entry.span, 0), entry.version or 0)
    kept = [entry for entry in kept if (entry.version or 0) == newest[entry.span]]
    return sorted(kept, key=lambda entry: (entry.span or 0, entry.path))


def _shown(numbers: list[int]) -> str:
    if len(numbers) <= 8:
        return ", ".join(map(str, numbers))
    return f"{numbers[0]} ... {', '.join(map(str, numbers[-7:]))}"
