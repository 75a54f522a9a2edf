"""Films: the frames that are written are those that are read, the same bytes for the same frames, one at a time."""

import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from gan_runner.errors import ConfigError
from gan_runner.film import writers
from gan_runner.film.frames import Film

ROOT = Path(__file__).parents[2]


def images(number: int, channels: int = 1, side: int = 9) -> np.ndarray:
    """Two images of a frame, which differ from those of every other frame."""
    values = np.arange(2 * channels * side * side, dtype=np.uint16) * (number + 1) + 31 * number
    return (values % 251).astype(np.uint8).reshape(2, channels, side, side)


def film(count: int = 5, channels: int = 1, **options) -> Film:
    def stacks(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        yield from (images(number, channels) for number in numbers)

    return Film(stacks, count, 20.0, **options)


def read(path: Path) -> list[np.ndarray]:
    with Image.open(path) as file:
        assert file.info.get("loop") == 0
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(file)]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_gray_frames_come_back_as_they_were(tmp_path: Path, suffix: str):
    path = film().save(tmp_path / f"film{suffix}")
    expected = [frame.repeat(3, axis=2) for frame in film()]
    found = read(path)
    assert len(found) == 5
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_colours_come_back_as_they_were_in_webp(tmp_path: Path):
    found = read(film(channels=3).save(tmp_path / "film.webp"))
    assert all(np.array_equal(one, other) for one, other in zip(found, film(channels=3), strict=True))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, suffix: str):
    paths = [film(channels=3).save(tmp_path / f"{name}{suffix}") for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_strip_has_a_column_for_each_frame_and_a_row_for_each_image(tmp_path: Path):
    strip = np.asarray(Image.open(film(20).save(tmp_path / "film.png")))
    side = 4 * 9  # enlarged to at least 32 pixels
    assert strip.shape == (2 * (side + 1) - 1, 16 * (side + 1) - 1)
    first, last = strip[:side:4, :side:4], strip[side + 1 :: 4, -side::4]
    assert np.array_equal(first, images(0)[0, 0])
    assert np.array_equal(last, images(19)[1, 0])


def test_titles_and_names_leave_the_images_as_they_are():
    plain, written = film(), film(titles=[f"t{n}" for n in range(5)], names=["first", "second"])
    height, width = plain.strip().shape[:2]
    assert np.array_equal(written.strip()[-height:, -width:], plain.strip())
    for one, other in zip(plain, written, strict=True):
        assert np.array_equal(other[-len(one) :], one)
        assert other[: -len(one)].any()


@pytest.mark.parametrize(
    ("name", "count", "words"),
    [
        ("film.gif", 1001, ["1001 frames", "use .mp4"]),
        ("film.webp", 1001, ["1001 frames", "use .mp4"]),
        ("film.avi", 5, [".mp4, .gif, .webp or .png"]),
        ("film", 5, [".mp4, .gif, .webp or .png"]),
    ],
    ids=["gif of many frames", "webp of many frames", "another format", "no format"],
)
def test_a_format_that_cannot_be_is_one_sentence(tmp_path: Path, name: str, count: int, words: list[str]):
    with pytest.raises(ConfigError) as error:
        film(count).save(tmp_path / name)
    assert all(word in str(error.value) for word in words)
    assert not list(tmp_path.iterdir())


def test_mp4_without_its_package_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gan_runner.storage.packages.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install imageio-ffmpeg"):
        film().save(tmp_path / "film.mp4")


def stand_in(folder: Path, script: str) -> str:
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_an_mp4_is_a_stream_of_which_one_frame_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = stand_in(tmp_path, 'for last; do :; done; cat > "$last"')
    monkeypatch.setattr("gan_runner.storage.packages.find_spec", lambda name: True)
    monkeypatch.setattr(writers, "ffmpeg", lambda: program)
    alive: list[weakref.ref] = []
    most = 0

    def stacks(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        nonlocal most
        for number in numbers:
            cells = images(number)
            alive.append(weakref.ref(cells))
            most = max(most, sum(each() is not None for each in alive))
            yield cells

    path = Film(stacks, 100, 20.0, enlarged=False).save(tmp_path / "film.mp4")
    frames = np.frombuffer(path.read_bytes(), np.uint8).reshape(100, 10, 20)  # odd sides are padded
    assert np.array_equal(frames[99, :9, :9], images(99)[0, 0])
    assert most <= 2


def test_what_ffmpeg_says_when_it_fails_is_in_the_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = stand_in(tmp_path, "echo no such encoder >&2; exit 1")
    monkeypatch.setattr("gan_runner.storage.packages.find_spec", lambda name: True)
    monkeypatch.setattr(writers, "ffmpeg", lambda: program)
    with pytest.raises(ConfigError, match=r"film\.mp4 cannot be written: .*no such encoder"):
        film().save(tmp_path / "film.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ffmpeg"]


def needs_ffmpeg() -> None:
    if find_spec("imageio_ffmpeg") is None:
        pytest.skip("imageio-ffmpeg is not installed: pip install imageio-ffmpeg")


@pytest.mark.parametrize("channels", [1, 3])
def test_an_mp4_has_the_same_bytes_and_the_frames(tmp_path: Path, channels: int):
    needs_ffmpeg()
    import imageio_ffmpeg

    paths = [film(channels=channels).save(tmp_path / f"{name}.mp4") for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    about, *frames = imageio_ffmpeg.read_frames(str(paths[0]))
    shown = [np.frombuffer(frame, np.uint8).reshape(*about["size"][::-1], 3).astype(int) for frame in frames]
    assert (len(shown), about["fps"]) == (5, 20.0)
    gray = [frame.mean(axis=2) for frame in shown]  # colours are halved by yuv420p
    for one, other in zip(gray, film(channels=channels), strict=True):
        assert np.abs(one[: other.shape[0], : other.shape[1]] - other.mean(axis=2)).mean() < 10


MEMORY = """
import resource, sys
import numpy as np
from gan_runner.film.frames import Film

def stacks(numbers):
    for number in numbers:
        yield np.full((4, 3, 64, 64), number % 256, np.uint8)

Film(stacks, int(sys.argv[1]), 30.0).save(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.long
def test_the_memory_of_ten_thousand_frames_is_that_of_a_thousand(tmp_path: Path):
    needs_ffmpeg()
    peaks = []
    for count in (1000, 10_000):
        command = [sys.executable, "-c", MEMORY, str(count), str(tmp_path / f"{count}.mp4")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        peaks.append(float(done.stdout))
    assert peaks[1] < peaks[0] + 20  # MB
