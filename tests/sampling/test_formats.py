"""Files of many images: the bytes do not depend on interruptions, and other programs read them."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_runner.errors import ConfigError
from gan_runner.metric.pools import CHUNK
from gan_runner.sampling import formats
from gan_runner.sampling.source import Source, held
from gan_runner.spec import ImageSpec

SPEC = ImageSpec(3, 4, 5, 10)
COUNT = 2 * CHUNK + 7
ABOUT = {"seed": 0}
WRITERS = {**{name: formats.WRITERS[name] for name in ("png", "npz", "zip")}, "shards": formats.shards(200)}


def images() -> torch.Tensor:
    return torch.rand(COUNT, *SPEC.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def source(labelled: bool = True) -> Source:
    return held(images(), torch.arange(COUNT) % 10 if labelled else None, SPEC)


def expected() -> np.ndarray:
    return ((images().numpy() + 1) * 127.5).round().astype(np.uint8).transpose(0, 2, 3, 1)


def content(out: Path) -> dict[str, bytes]:
    """Returns all files at or below a path, without the manifest."""
    if out.is_file():
        return {"": out.read_bytes()}
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != ".sampling.json"}


class Killed(BaseException):
    """Ends the writing at once, as SIGKILL does: no handler of the code runs but finally blocks."""


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("chunk", [0, 1, 2], ids="killed in chunk {}".format)
def test_an_interrupted_command_goes_on_to_the_same_bytes(tmp_path: Path, writer: formats.Writer, chunk: int):
    whole, made = source(), []
    writer(tmp_path / "whole", whole, ABOUT, formats.ignore)

    def read(number: int) -> torch.Tensor:
        made.append(number)
        if len(made) == chunk + 1:
            raise Killed
        return whole.read(number)

    cut = Source(COUNT, SPEC, read, whole.labels)
    with pytest.raises(Killed):
        writer(tmp_path / "cut", cut, ABOUT, formats.ignore)
    if chunk:
        assert not (tmp_path / "cut").is_file()  # incomplete files do not have the name of the result
    writer(tmp_path / "cut", cut, ABOUT, formats.ignore)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert len(made) <= 2 + 3 + 2 * (writer is WRITERS["shards"])  # shards cut chunks, and make some of them twice
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_finished_folder_is_not_made_again(tmp_path: Path):
    for name in ("png", "shards"):
        WRITERS[name](tmp_path / name, source(), ABOUT, formats.ignore)
        before = content(tmp_path / name)
        WRITERS[name](tmp_path / name, Source(COUNT, SPEC, refuse, source().labels), ABOUT, formats.ignore)
        assert content(tmp_path / name) == before


def refuse(number: int) -> torch.Tensor:
    raise AssertionError(f"chunk {number} is there already")


@pytest.mark.parametrize("size", [1, 40, 100, 5000], ids="cut after {} bytes".format)
def test_an_archive_or_array_that_ends_within_an_image_goes_on(tmp_path: Path, size: int):
    for name, inner in (("zip", "zip"), ("npz", "images")):
        WRITERS[name](tmp_path / "whole", source(), ABOUT, formats.ignore)
        with pytest.raises(Killed):
            WRITERS[name](tmp_path / "cut", Source(COUNT, SPEC, killed_at(1), source().labels), ABOUT, formats.ignore)
        os.truncate(tmp_path / ".cut.partial" / inner, size)
        WRITERS[name](tmp_path / "cut", source(), ABOUT, formats.ignore)
        assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()


def killed_at(chunk: int) -> Callable[[int], torch.Tensor]:
    def read(number: int) -> torch.Tensor:
        if number == chunk:
            raise Killed
        return source().read(number)

    return read


@pytest.mark.parametrize("labelled", [True, False], ids=["labels", "no labels"])
def test_an_npz_is_that_of_numpy(tmp_path: Path, labelled: bool):
    formats.write_npz(tmp_path / "ours.npz", source(labelled), ABOUT)
    labels = {"labels": np.arange(COUNT) % 10} if labelled else {}
    np.savez(tmp_path / "numpys.npz", images=expected(), **labels)
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpys.npz").read_bytes()


def test_points_are_stored_as_they_are(tmp_path: Path):
    spec = ImageSpec(2, 1, 1, value_range=None)
    points = torch.randn(300, 2, 1, 1)
    formats.write_npz(tmp_path / "x.npz", held(points, None, spec), ABOUT)
    assert np.array_equal(np.load(tmp_path / "x.npz")["images"], points.numpy().transpose(0, 2, 3, 1))


def test_shards_are_the_images_in_order(tmp_path: Path):
    WRITERS["shards"](tmp_path, source(), ABOUT, formats.ignore)
    paths = sorted(tmp_path.glob("*.npz"))
    assert [path.name for path in paths] == ["images-00000000.npz", "images-00000200.npz", "images-00000400.npz"]
    assert np.array_equal(np.concatenate([np.load(path)["images"] for path in paths]), expected())
    assert np.concatenate([np.load(path)["labels"] for path in paths]).tolist() == [n % 10 for n in range(COUNT)]


@pytest.mark.parametrize("labelled", [True, False], ids=["labels", "no labels"])
def test_a_zip_has_the_layout_of_stylegan(tmp_path: Path, labelled: bool):
    formats.write_zip(tmp_path / "x.zip", source(labelled), ABOUT)
    with zipfile.ZipFile(tmp_path / "x.zip") as packed:
        assert packed.testzip() is None
        *names, last = packed.namelist()
        assert (len(names), names[0], names[-1]) == (COUNT, "00000/img00000000.png", "00000/img00000518.png")
        made = np.stack([np.asarray(Image.open(packed.open(name))) for name in names])
        labels = json.loads(packed.read("dataset.json"))["labels"]
    assert last == "dataset.json"
    assert np.array_equal(made, expected())
    assert labels == ([[name, n % 10] for n, name in enumerate(names)] if labelled else None)


@pytest.mark.parametrize("name", ["png", "shards"])
def test_images_of_another_command_are_not_mixed_with_these(tmp_path: Path, name: str):
    WRITERS[name](tmp_path / "a", source(), ABOUT, formats.ignore)
    with pytest.raises(ConfigError, match=r"seed=0.*name another --out"):
        WRITERS[name](tmp_path / "a", source(), {"seed": 1}, formats.ignore)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ("000000.png" if name == "png" else "images.npz")).touch()
    with pytest.raises(ConfigError, match="unknown origin"):
        WRITERS[name](tmp_path / "b", source(), ABOUT, formats.ignore)


@pytest.mark.parametrize("name", ["npz", "zip"])
def test_unfinished_parts_of_another_command_are_dropped(tmp_path: Path, name: str):
    WRITERS[name](tmp_path / "whole", source(), ABOUT, formats.ignore)
    other = held(images().flip(0), None, SPEC)
    with pytest.raises(Killed):
        WRITERS[name](tmp_path / "x", Source(COUNT, SPEC, killed_at(1), other.labels), {"seed": 1}, formats.ignore)
    WRITERS[name](tmp_path / "x", source(), ABOUT, formats.ignore)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("name", ["npz", "zip"])
def test_a_link_in_the_place_of_unfinished_parts_is_not_followed(tmp_path: Path, name: str):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "mine").write_text("mine")
    (tmp_path / ".x.partial").symlink_to(tmp_path / "precious")
    WRITERS[name](tmp_path / "x", source(), ABOUT, formats.ignore)
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["mine"]


def test_progress_counts_what_an_earlier_command_made(tmp_path: Path):
    for name, writer in WRITERS.items():
        counts: list[int] = []
        with pytest.raises(Killed):
            writer(tmp_path / name, Source(COUNT, SPEC, killed_at(1), source().labels), ABOUT, formats.ignore)
        writer(tmp_path / name, source(), ABOUT, counts.append)
        assert counts == sorted(counts)
        assert counts[-1] == COUNT
        assert len(counts) <= 4
