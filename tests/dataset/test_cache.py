"""The packed cache has the same content as direct decoding, whatever happened during packing."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gan_runner.dataset import cache
from gan_runner.dataset.cache import Packed, Request, packed
from gan_runner.dataset.image_files import files_at
from gan_runner.dataset.picture import Form
from gan_runner.errors import ConfigError
from tests.dataset.pictures import encoded, pixels, write_folder, write_zip

FORM = Form(8, 8, 3, "exact")
PACK = """
import sys
from gan_runner.dataset import cache
from gan_runner.dataset.image_files import files_at
from gan_runner.dataset.picture import Form
if __name__ == "__main__":
    cache.COMMIT = 0.02
    files = files_at(sys.argv[1])
    request = cache.Request(files, files.listing().images, Form(8, 8, 3, "exact"), True, 0.5)
    print(cache.packed(sys.argv[2], "set", request).fresh)
"""


def request(path: Path, form: Form = FORM, gray_or_rgb: bool = True, max_broken: float = 0.0) -> Request:
    files = files_at(str(path))
    return Request(files, files.listing().images, form, gray_or_rgb, max_broken)


def contents(found: Packed) -> np.ndarray:
    return np.fromfile(found.pixels, np.uint8).reshape(found.shape)


def numbered(count: int, broken: tuple[int, ...] = ()) -> dict[str, bytes]:
    return {f"{n:05d}.png": b"" if n in broken else encoded(pixels(n)) for n in range(count)}


def directly(numbers: list[int]) -> np.ndarray:
    """Returns the images (N, C, H, W) of `numbered` without decoding."""
    return np.stack([pixels(n) for n in numbers]).transpose(0, 3, 1, 2)


def begin(path: Path, where: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PACK, str(path), str(where)], stdout=subprocess.PIPE, text=True)


def kill_while_packing(tmp_path: Path, kills: int, count: int) -> None:
    broken = tuple(random.Random(0).sample(range(count), 20))
    path = write_zip(tmp_path / "a.zip", numbered(count, broken))
    moments, cut = random.Random(1), 0
    for attempt in range(kills):
        process = begin(path, tmp_path / "cache")
        time.sleep(moments.uniform(0.12, 0.12 + count / 12_000))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        cut += not any((tmp_path / "cache").glob("*/index.json"))
        if attempt % 4 == 3:  # a finished set is thrown away, so that the next kill has something to hit
            for index in (tmp_path / "cache").glob("*/index.json"):
                index.unlink()
    found = packed(str(tmp_path / "cache"), "set", request(path, max_broken=0.5))
    kept = [n for n in range(count) if n not in broken]
    assert [position for position, _ in found.broken] == sorted(broken)
    assert np.array_equal(contents(found), directly(kept))
    assert cut >= kills // 4


def test_a_packing_that_is_killed_and_begun_again_never_holds_a_wrong_image(tmp_path: Path):
    kill_while_packing(tmp_path, kills=5, count=5000)


@pytest.mark.long
def test_twenty_kills(tmp_path: Path):
    kill_while_packing(tmp_path, kills=20, count=12_000)


def test_a_packing_goes_on_from_its_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_folder(tmp_path / "a", numbered(1000))
    decode, seen = cache.decode_part, []
    monkeypatch.setattr(cache, "cores", lambda: 1)
    monkeypatch.setattr(cache, "COMMIT", 0.0)

    def stop_at_half(source, form, growing, part):
        if part[0] >= 500:
            raise KeyboardInterrupt
        return decode(source, form, growing, part)

    monkeypatch.setattr(cache, "decode_part", stop_at_half)
    with pytest.raises(KeyboardInterrupt):
        packed(str(tmp_path / "cache"), "set", request(path))

    def watch(source, form, growing, part):
        seen.append(part[0])
        return decode(source, form, growing, part)

    monkeypatch.setattr(cache, "decode_part", watch)
    found = packed(str(tmp_path / "cache"), "set", request(path))
    assert min(seen) == 512
    assert np.array_equal(contents(found), directly(list(range(1000))))
    assert {file.name for file in found.folder.iterdir()} - {".lock"} == {"index.json", "pixels"}


@pytest.mark.parametrize(
    "damage", ["the file is gone", "the file is short", "the journal is cut", "the journal is noise"]
)
def test_a_damaged_half_made_set_is_made_anew(tmp_path: Path, damage: str):
    path = write_folder(tmp_path / "a", numbered(300))
    folder = tmp_path / "cache" / f"set-{request(path).key()}"
    folder.mkdir(parents=True)
    size = 300 * 192
    (folder / "journal").write_bytes(b'[256, "", true, []]\n')
    if damage != "the file is gone":
        (folder / "pixels.part").write_bytes(bytes(size // 2 if damage == "the file is short" else size))
    if damage == "the journal is cut":
        (folder / "journal").write_bytes(b'[256, "", tr')
    if damage == "the journal is noise":
        (folder / "journal").write_bytes(b'\x00\xff\n{"done": 3}\n[1, 2]\n')
    assert np.array_equal(contents(packed(str(tmp_path / "cache"), "set", request(path))), directly(list(range(300))))


def test_two_that_begin_at_once_agree(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", numbered(3000))
    both = [begin(path, tmp_path / "cache") for _ in range(2)]
    answers = sorted(process.communicate(timeout=120)[0].strip() for process in both)
    assert answers == ["False", "True"]
    found = packed(str(tmp_path / "cache"), "set", request(path))
    assert np.array_equal(contents(found), directly(list(range(3000))))


@pytest.mark.parametrize("threads", [1, 2], ids=["forked", "spawned"])
def test_several_processes_decode_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int):
    path = write_zip(tmp_path / "a.zip", numbered(700, broken=(3, 699)))
    monkeypatch.setattr(cache, "cores", lambda: 3)
    monkeypatch.setattr(cache.threading, "active_count", lambda: threads)
    asked = request(path, max_broken=0.1)
    asked.source.open(asked.found[0]).close()  # as the start of a run does, to see the size
    many = packed(str(tmp_path / "many"), "set", asked)
    monkeypatch.setattr(cache, "cores", lambda: 1)
    alone = packed(str(tmp_path / "one"), "set", request(path, max_broken=0.1))
    assert many.content == alone.content
    assert many.broken == alone.broken
    assert many.pixels.read_bytes() == alone.pixels.read_bytes()


@pytest.mark.long
def test_processes_end_with_their_parent(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", numbered(40_000))
    process = begin(path, tmp_path / "cache")
    while not list((tmp_path / "cache").glob("*/pixels.part")):
        time.sleep(0.02)
    time.sleep(0.3)
    assert len(working_on(tmp_path)) == 1 + cache.cores()
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while orphans := working_on(tmp_path):
        assert time.monotonic() < deadline, orphans
        time.sleep(0.1)


def working_on(path: Path) -> list[str]:
    """Returns the processes that have the path in their arguments."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [line.parent.name] * (str(path).encode() in line.read_bytes())
    return found


def test_a_change_of_any_file_or_setting_is_another_set(tmp_path: Path):
    root = write_folder(tmp_path / "a", numbered(3))
    first = request(root).key()
    assert request(root).key() == first
    assert request(root, Form(8, 8, 3, "crop")).key() != first
    assert request(root, Form(8, 9, 3, "exact")).key() != first
    assert request(root, gray_or_rgb=False).key() != first
    (root / "00001.png").write_bytes(encoded(pixels(77)))
    assert request(root).key() != first


def test_what_is_packed_is_found_again_wherever_the_archive_lies(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", numbered(5))
    assert packed(str(tmp_path / "cache"), "set", request(path)).fresh
    moved = path.rename(tmp_path / "b.zip")
    assert not packed(str(tmp_path / "cache"), "set", request(moved)).fresh


def test_a_set_whose_file_was_cut_short_is_packed_again(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", numbered(5))
    found = packed(str(tmp_path / "cache"), "set", request(path))
    found.pixels.write_bytes(found.pixels.read_bytes()[:-1])
    again = packed(str(tmp_path / "cache"), "set", request(path))
    assert again.fresh
    assert np.array_equal(contents(again), directly(list(range(5))))


def test_a_lower_limit_of_broken_files_holds_for_what_is_packed_too(tmp_path: Path):
    path = write_folder(tmp_path / "a", numbered(10, broken=(2,)))
    packed(str(tmp_path / "cache"), "set", request(path, max_broken=0.1))
    with pytest.raises(ConfigError, match=r"max_broken=0 allows 0 of 10 .*: 00002.png"):
        packed(str(tmp_path / "cache"), "set", request(path))


def test_a_long_list_of_broken_files_is_cut(tmp_path: Path):
    path = write_folder(tmp_path / "a", numbered(60, broken=tuple(range(50))))
    with pytest.raises(ConfigError) as caught:
        packed(str(tmp_path / "cache"), "set", request(path, max_broken=0.1))
    assert str(caught.value).count(".png (") == cache.LISTED
    assert "and 30 more" in str(caught.value)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path):
    path = write_folder(tmp_path / "a", numbered(2))
    (tmp_path / "cache").write_bytes(b"a file")
    with pytest.raises(ConfigError, match=r"dataset.cache_dir=.* cannot be written .*GAN_RUNNER_CACHE"):
        packed(str(tmp_path / "cache"), "set", request(path))


def test_a_disk_without_room_is_told_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_folder(tmp_path / "a", numbered(2))
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 100})())
    with pytest.raises(ConfigError, match=r"make room, choose a smaller dataset\.size"):
        packed(str(tmp_path / "cache"), "set", request(path))


def kill_oneself(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_zip(tmp_path / "a.zip", numbered(600))
    monkeypatch.setattr(cache, "cores", lambda: 2)
    monkeypatch.setattr(cache, "decode_part", kill_oneself)
    with pytest.raises(ConfigError, match=r"was killed .*the same command goes on"):
        packed(str(tmp_path / "cache"), "set", request(path))


def test_progress_is_told_with_a_bar(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    packed(str(tmp_path / "cache"), "set", request(write_folder(tmp_path / "a", numbered(3))))
    assert "packing #################### 3 of 3 images" in caplog.text
    assert all(hasattr(record, "fields") for record in caplog.records)


def test_the_index_is_plain_json(tmp_path: Path):
    found = packed(str(tmp_path / "cache"), "set", request(write_folder(tmp_path / "a", numbered(3))))
    assert json.loads((found.folder / "index.json").read_text())["count"] == 3
