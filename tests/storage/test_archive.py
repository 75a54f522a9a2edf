"""Archives that zipfile reads, beyond the limits of 16 and 32 bits."""

import zipfile
from pathlib import Path

from gan_runner.storage import archive


def test_an_archive_may_have_more_than_65535_files(tmp_path: Path):
    with open(tmp_path / "x", "w+b") as file, open(tmp_path / "x", "rb") as reading:
        for number in range(66_000):
            archive.append_bytes(file, f"{number}", b"%d" % number)
        archive.finish(file, reading)
    with zipfile.ZipFile(tmp_path / "x") as packed:
        assert packed.namelist() == [str(number) for number in range(66_000)]
        assert packed.read("65999") == b"65999"


def test_an_archive_may_have_more_than_four_gigabytes(tmp_path: Path):
    size = 2**32 - 2
    with open(tmp_path / "x", "w+b") as file, open(tmp_path / "x", "rb") as reading:
        archive.append(file, "large", (), size, 0)
        file.seek(size, 1)  # a hole, which takes no space
        archive.append_bytes(file, "behind", b"content")
        archive.finish(file, reading)
    with zipfile.ZipFile(tmp_path / "x") as packed:
        assert [(entry.filename, entry.file_size) for entry in packed.infolist()] == [("large", size), ("behind", 7)]
        assert packed.read("behind") == b"content"
