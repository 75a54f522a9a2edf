"""Zip archives of any number of stored files, written in a stream: the memory does not grow with their number.

The files stand one after another, each behind its own header, so that an archive that was cut off can be extended. The
directory at the end is made from these headers. (zipfile keeps the whole directory in memory, and cannot extend.)
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END64, LOCATOR, END = struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI"), struct.Struct("<4s4H2IH")
OLD, WITH_64_BITS = 20, 45  # versions of the format, in tenths
DATE = 1 << 5 | 1  # 1 January 1980, as of zipfile
LARGEST = 2**32 - 1  # beyond it a number needs 64 bits


class Entry(NamedTuple):
    """A complete file of an archive, from `start` to `end`."""

    name: bytes
    crc: int
    size: int
    start: int
    end: int


def append(file: BinaryIO, name: str, parts: Iterable[bytes], size: int, crc: int) -> None:
    """Writes a file at the present position. size, crc: those of all parts together."""
    encoded = name.encode()
    file.write(LOCAL.pack(b"PK\x03\x04", OLD, 0, 0, 0, DATE, crc, size, size, len(encoded), 0) + encoded)
    for part in parts:
        file.write(part)


def append_bytes(file: BinaryIO, name: str, content: bytes) -> None:
    append(file, name, (content,), len(content), zlib.crc32(content))


def entries(file: BinaryIO) -> Iterator[Entry]:
    """Yields the complete files of an archive, from its beginning to where it was cut off or its directory begins."""
    length, start = file.seek(0, 2), 0
    while start + LOCAL.size <= length:
        file.seek(start)
        kind, *_, crc, size, _, name, extra = LOCAL.unpack(file.read(LOCAL.size))
        end = start + LOCAL.size + name + extra + size
        if kind != b"PK\x03\x04" or end > length:
            return
        yield Entry(file.read(name), crc, size, start, end)
        start = end


def finish(file: BinaryIO, reading: BinaryIO) -> None:
    """Writes the directory at the end. reading: a second handle of the same file."""
    file.flush()
    begin, count = file.seek(0, 2), 0
    for name, crc, size, start, _ in entries(reading):
        count += 1
        far = start > LARGEST
        extra = struct.pack("<HHQ", 1, 8, start) if far else b""
        version, offset = (WITH_64_BITS, LARGEST) if far else (OLD, start)
        numbers = (crc, size, size, len(name), len(extra), 0, 0, 0, 0, offset)
        file.write(CENTRAL.pack(b"PK\x01\x02", version, version, 0, 0, 0, DATE, *numbers) + name + extra)
    end = file.tell()
    many, large = count >= 2**16 - 1, end > LARGEST
    if many or large:
        record = (WITH_64_BITS, WITH_64_BITS, 0, 0, count, count, end - begin, begin)
        file.write(END64.pack(b"PK\x06\x06", END64.size - 12, *record))
        file.write(LOCATOR.pack(b"PK\x06\x07", 0, end, 1))
    shown, offset = min(count, 2**16 - 1), min(begin, LARGEST)
    file.write(END.pack(b"PK\x05\x06", 0, 0, shown, shown, min(end - begin, LARGEST), offset, 0))
