"""Sources of image files: a folder or a zip archive, read in place. Imports no torch (see picture)."""

import contextlib
import gc
import io
import itertools
import os
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, Protocol

from gan_runner.dataset.picture import SUFFIXES, Unreadable
from gan_runner.errors import ConfigError

MAX_BYTES = 2**28  # the largest size of one unpacked file
IGNORED_FILES = ("__MACOSX", "Thumbs.db", "desktop.ini")  # files that file managers and archivers create
ENCRYPTED = 1  # the flag bit of an encrypted entry
HEADER = struct.Struct("<26xHH")  # local header of an archived file: the lengths of its name and of its extra field


Entry = tuple[int, int, int, int, int]  # of an archive: offset, packed bytes, unpacked bytes, method, checksum


class Found(NamedTuple):
    """An image file: its path below the root, with `/`, and a stamp that changes with its content."""

    name: str
    stamp: str
    entry: Entry | None = None


class Listing(NamedTuple):
    images: list[Found]  # in the order of their names
    others: Counter[str]  # the number of other files, by suffix or kind


class Source(Protocol):
    """A source of encoded images; it is pickled for the processes that decode."""

    def open(self, found: Found) -> BinaryIO:
        """Opens an image file. Unreadable if the file is too large or cannot be read."""


class Files(Source, Protocol):
    @property
    def root(self) -> str: ...

    def listing(self) -> Listing: ...

    def attached(self, name: str) -> bytes | None:
        """Returns the content of a file at the top that is no image; None if it is missing."""


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Turns garbage collection off: it would take half the time, since many small objects are made and kept."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def files_at(path: str) -> Files:
    """Returns the folder or zip archive at `path`. ConfigError if it is neither."""
    place = Path(path).expanduser()
    if place.is_dir():
        return Folder(str(place.resolve()))
    if place.is_file() and zipfile.is_zipfile(place):
        return Archive(str(place.resolve()), place.stat().st_mtime_ns)
    if place.exists():
        raise ConfigError(f"dataset.path={path} is neither a folder nor a zip archive; name one that holds images.")
    raise ConfigError(f"dataset.path={path} does not exist; name a folder or a zip archive of images.")


def is_hidden(name: str) -> bool:
    """Whether a file is hidden, in a hidden folder, or created by a file manager or an archiver."""
    return name.startswith(".") or "/." in name or name.endswith(IGNORED_FILES) or "__MACOSX/" in name


def normalised_path(name: str) -> str:
    """Removes redundant steps of a path: ./a//b becomes a/b. Steps that lead out of the archive are kept."""
    parts = [part for part in name.split("/")[:-1] if part != "."]
    return "/".join([part for number, part in enumerate(parts) if part or not number] + name.split("/")[-1:])


def is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def kind(name: str) -> str:
    return PurePosixPath(name).suffix.lower() or "no suffix"


def shown(name: str) -> str:
    """Returns a file name for printing: control characters and undecodable bytes are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)


@dataclass(frozen=True)
class Folder:
    root: str

    @uncollected()
    def listing(self) -> Listing:
        """Lists the files. ConfigError if a link leads out of the folder, or a folder cannot be read."""
        images: list[Found] = []
        others: Counter[str] = Counter()
        for place, folders, names in os.walk(self.root, onerror=refuse_unreadable):
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            for name in folders:
                if os.path.islink(os.path.join(place, name)):  # not followed: its target is listed at its own place
                    self.check_inside(os.path.join(place, name))
                    others["link to a folder"] += 1
            for name in names:
                if is_hidden(name):
                    continue
                path = os.path.join(place, name)
                if not is_image(name):
                    others[kind(name)] += 1
                    continue
                about = self.check_inside(path) if os.path.islink(path) else os.lstat(path)
                if about is None or not stat.S_ISREG(about.st_mode):
                    others["no regular file"] += 1
                    continue
                relative = os.path.relpath(path, self.root).replace(os.sep, "/")
                images.append(Found(relative, f"{about.st_size}:{about.st_mtime_ns}"))
        return Listing(sorted(images), others)

    def attached(self, name: str) -> bytes | None:
        path = os.path.join(self.root, name)
        if not os.path.isfile(path):
            return None
        if os.path.islink(path):
            self.check_inside(path)
        with open(path, "rb") as file:
            return file.read(MAX_BYTES)

    def check_inside(self, path: str) -> os.stat_result | None:
        """Returns the status of a link's target, None if it is missing. ConfigError if it is outside the folder."""
        target = os.path.realpath(path)
        if os.path.commonpath([target, self.root]) != self.root:
            raise ConfigError(
                f"dataset.path={self.root}: {shown(path)} is a link that leaves the folder, to {shown(target)}; put "
                f"the files themselves there, or name the folder that holds them."
            )
        return os.stat(target) if os.path.exists(target) else None

    def open(self, found: Found) -> BinaryIO:
        path = os.path.join(self.root, found.name)
        try:
            check_size(os.stat(path).st_size)
            return open(path, "rb")
        except OSError as error:
            raise Unreadable(error.strerror or str(error)) from error


def refuse_unreadable(error: OSError) -> None:
    raise ConfigError(
        f"dataset.path: {shown(str(error.filename))} cannot be read ({error.strerror}); allow it, or name "
        f"another folder."
    )


def check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise Unreadable(f"{size} bytes are more than the {MAX_BYTES} that a file may have")


@dataclass(frozen=True)
class Archive:
    """A zip archive of stored or deflated files. changed: its modification time, in nanoseconds."""

    root: str
    changed: int

    @uncollected()
    def listing(self) -> Listing:
        """Lists the files. ConfigError if the archive is damaged, or a file is a link, encrypted or leads out of it."""
        images: list[Found] = []
        others: Counter[str] = Counter()
        for info in self.entries():
            name = info.filename.replace("\\", "/")
            if "./" in name or "//" in name:
                name = normalised_path(name)
            parts = name.split("/")
            if not parts[0] or ".." in parts or parts[0].endswith(":"):
                raise self.refused(f"{shown(info.filename)!r} leads out of it")
            if not parts[-1] or is_hidden(name):
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                raise self.refused(f"{shown(name)!r} is a link")
            if info.flag_bits & ENCRYPTED:
                raise self.refused(f"{shown(name)!r} is encrypted")
            if not is_image(name):
                others[kind(name)] += 1
                continue
            entry = (info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC)
            images.append(Found(name, f"{info.file_size}:{info.CRC}", entry))
        images.sort()
        for one, other in itertools.pairwise(images):
            if one.name == other.name:
                raise self.refused(f"{shown(one.name)!r} is in it twice")
        return Listing(images, others)

    def attached(self, name: str) -> bytes | None:
        if name not in {info.filename for info in self.entries()}:
            return None
        try:
            with zipfile.ZipFile(self.root) as archive, archive.open(name) as file:
                return file.read(MAX_BYTES)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, zlib.error) as error:
            raise self.refused(f"{name}: {error}") from error

    def entries(self) -> list[zipfile.ZipInfo]:
        try:
            with zipfile.ZipFile(self.root) as archive:
                return archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise self.refused(str(error).split("\n")[0]) from error

    def refused(self, what: str) -> ConfigError:
        return ConfigError(
            f"dataset.path={self.root} is an archive of a kind that cannot be read: {what}; make it again without."
        )

    def open(self, found: Found) -> BinaryIO:
        assert found.entry is not None
        offset, packed, size, _, _ = found.entry
        check_size(max(packed, size))
        try:
            file = opened(self)
            header = os.pread(file, HEADER.size, offset)
            if len(header) < HEADER.size or not header.startswith(b"PK\3\4"):
                raise Unreadable("the archive does not hold it where its list says")
            data = os.pread(file, packed, offset + HEADER.size + sum(HEADER.unpack(header)))
        except OSError as error:
            raise Unreadable(error.strerror or str(error)) from error
        return io.BytesIO(unpacked(data, found.entry))


@lru_cache(maxsize=1)
def opened(archive: Archive) -> int:
    """Returns a file descriptor, which forked processes share, so it must only be used with os.pread."""
    return os.open(archive.root, os.O_RDONLY)


def unpacked(data: bytes, entry: Entry) -> bytes:
    """Unpacks an entry, to at most its listed size. Unreadable if size or checksum differ from the archive's list."""
    _, _, size, method, checksum = entry
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unreadable(f"compressed by method {method}; make the archive anew, deflated as usual")
    try:
        if method == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
    except zlib.error as error:
        raise Unreadable(str(error)) from error
    if len(data) != size or zlib.crc32(data) != checksum:
        raise Unreadable("its checksum is not that of the archive")
    return data
