"""TFRecord files, as TensorFlow writes them, plain or gzip: records of bytes, each with two checksums.

Format: a record is its length (uint64, little-endian), that length's masked CRC-32C, the bytes, and their masked
CRC-32C; see https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

from headrace.components.ingest.csv_files import open_binary
from headrace.pipelines import storage
from headrace.pipelines.errors import DataError, MissingExtra

_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_GZIP = b"\x1f\x8b"
_MASK_DELTA = 0xA282EAD8


def read_records(path: str) -> Iterator[bytes]:
    """The records of a file, in order; whether it is gzip is seen from its bytes.

    Args:
        path: A local path or an fsspec URL.

    Raises:
        DataError: The file is no TFRecord file, is cut off, or a checksum is wrong; with the record's number.
        MissingExtra: The checksum's library is not installed.

    >>> import tempfile, pathlib
    >>> path = str(pathlib.Path(tempfile.mkdtemp()) / "a.tfrecord.gz")
    >>> write_records(path, [b"one", b"two"])
    >>> list(read_records(path))
    [b'one', b'two']
    """
    crc = _crc()
    with open_binary(path) as raw:
        start = raw.read(_HEADER.size)
        whole = cast(IO[bytes], _Joined(start, raw))
        # A length that begins like gzip is told from it by its checksum.
        is_plain = len(start) == _HEADER.size and _masked(crc(start[:8])) == _HEADER.unpack(start)[1]
        is_gzip = start.startswith(_GZIP) and not is_plain
        stream = cast(IO[bytes], io.BufferedReader(gzip.GzipFile(fileobj=whole))) if is_gzip else whole
        number = 0
        try:
            while header := _exactly(stream, _HEADER.size):
                number += 1
                if len(header) < _HEADER.size:
                    raise _damaged("is cut off", path, number)
                length, length_crc = _HEADER.unpack(header)
                if _masked(crc(header[:8])) != length_crc:
                    what = "is no TFRecord file" if number == 1 else "has a wrong checksum of a record's length"
                    raise _damaged(what, path, number)
                data = _exactly(stream, length)
                trailer = _exactly(stream, _CRC.size)
                if len(data) < length or len(trailer) < _CRC.size:
                    raise _damaged("is cut off", path, number)
                if _masked(crc(data)) != _CRC.unpack(trailer)[0]:
                    raise _damaged("has a wrong checksum of a record's bytes", path, number)
                yield data
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(f"is damaged or cut off: {error}", path, number + 1) from None


def write_records(path: str, records: Iterable[bytes], *, compress: bool = True) -> None:
    """Writes records into a file.

    Args:
        path: A local path or an fsspec URL.
        records: The records.
        compress: Whether as gzip, as TFX does.
    """
    crc = _crc()
    with storage.open_file(path, "wb") as raw:
        # Without a time, so that equal records are equal bytes.
        file = gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=3, mtime=0, filename="") if compress else raw
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + _CRC.pack(_masked(crc(length))) + record + _CRC.pack(_masked(crc(record))))
        if compress:
            file.close()


class _Joined(io.RawIOBase):
    """Bytes that were read already, then the rest of their stream."""

    def __init__(self, start: bytes, rest: IO[bytes]) -> None:
        self._start, self._rest = start, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._start:
            return self._rest.read(size)
        if size < 0:
            size = len(self._start)
        given, self._start = self._start[:size], self._start[size:]
        return given


def _exactly(stream: IO[bytes], size: int) -> bytes:
    """So many bytes, or what is left."""
    data = stream.read(size)
    while len(data) < size and (more := stream.read(size - len(data))):
        data += more
    return data


def _crc() -> Any:
    try:
        from google_crc32c import value
    except ModuleNotFoundError as error:
        raise MissingExtra("tft", "google_crc32c") from error
    return value


def _masked(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _damaged(what: str, path: str, number: int) -> DataError:
    fix = "Give TFRecord files, plain or gzip, or fetch it again." if number == 1 else "Fetch or write it again."
    return DataError(what, fix, file=path, row=number)
