"""Opens `.csv`, `.csv.gz` and `.csv.zip`, local or behind an fsspec URL, as streams of UTF-8 bytes."""

from __future__ import annotations

import codecs
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from headrace.pipelines.errors import DataError

UTF8 = ("utf-8", "utf8", "utf-8-sig")


@contextmanager
def open_binary(path: str) -> Iterator[BinaryIO]:
    """Opens a local path or an fsspec URL for reading.

    Raises:
        DataError: It is gone, or not to be read.
    """
    try:
        if "://" not in path:
            file = Path(path).open("rb")  # noqa: SIM115
        else:
            import fsspec

            file = fsspec.open(path, "rb").open()
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror or error}", "Check that it exists.", file=path) from None
    with file:
        yield file


def open_csv(path: str, encoding: str = "utf-8") -> Iterator[tuple[str, BinaryIO]]:
    """The CSV files in a file: one, or each `.csv` member of a `.csv.zip`, sorted by name.

    Args:
        path: `.csv`, `.csv.gz` or `.csv.zip`; anything else is read as plain text.
        encoding: The text's encoding; other than UTF-8 is transcoded while reading.

    Yields:
        What to call it in a message, and a stream that is open until the next is asked for.

    Raises:
        DataError: The archive has no CSV file, or the encoding is not one Python knows.
    """
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise DataError(
            f"{encoding!r} is not an encoding", 'Give one such as "utf-8" or "cp1252".', file=path
        ) from None
    with open_binary(path) as file:
        lower = path.lower()
        if lower.endswith(".zip"):
            yield from _members(path, file, encoding)
        elif lower.endswith(".gz"):
            yield path, _decoded(cast(IO[bytes], gzip.GzipFile(fileobj=file)), encoding)
        else:
            yield path, _decoded(file, encoding)


def read_some(label: str, stream: BinaryIO, size: int) -> bytes:
    """Reads up to `size` bytes, b"" at the end; damage and undecodable bytes become a DataError.

    Raises:
        DataError: The file is damaged, cut off, or in another encoding.
    """
    try:
        return stream.read(size)
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise DataError(f"is damaged or cut off: {error}", "Fetch or write it again.", file=label) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"byte {error.object[error.start]:#04x} is not {error.encoding}: {error.reason}",
            "Give the encoding that the file has.",
            file=label,
        ) from None


def _members(path: str, file: BinaryIO, encoding: str) -> Iterator[tuple[str, BinaryIO]]:
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise DataError(f"is not a zip archive: {error}", "Fetch or write it again.", file=path) from None
    with archive:
        names = sorted(info.filename for info in archive.infolist() if not info.is_dir())
        # macOS adds a folder of resource forks to every archive.
        wanted = [name for name in names if name.lower().endswith(".csv") and not name.startswith("__MACOSX/")]
        if not wanted and len(names) == 1:
            wanted = names
        if not wanted:
            shown = ", ".join(names[:5]) or "nothing"
            raise DataError(f"holds no .csv file: it holds {shown}", "Give an archive of .csv files.", file=path)
        for name in wanted:
            try:
                member = archive.open(name)
            except (RuntimeError, NotImplementedError) as error:
                raise DataError(f"{name} cannot be read: {error}", "Write it without a password.", file=path) from None
            with member:
                yield f"{path}/{name}", _decoded(member, encoding)


def _decoded(stream: IO[bytes], encoding: str) -> BinaryIO:
    if encoding.lower() in UTF8:
        return stream  # type: ignore[return-value]
    return io.BufferedReader(_Transcoder(stream, encoding), 1 << 16)  # type: ignore[arg-type]


class _Transcoder(io.RawIOBase):
    """Bytes of another encoding as UTF-8."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self.stream = stream
        self.decoder = codecs.getincrementaldecoder(encoding)()
        self.ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self.ready:
            raw = self.stream.read(1 << 16)
            self.ready = self.decoder.decode(raw, final=not raw).encode("utf-8")
            if not raw:
                break
        size = min(len(buffer), len(self.ready))
        buffer[:size], self.ready = self.ready[:size], self.ready[size:]
        return size
