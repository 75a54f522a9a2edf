"""Films of the training: the pictures of samples/, or the same ones from checkpoints; several runs side by side."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from gan_runner.film.__main__ import main
from gan_runner.film.training import GAP, of_training
from gan_runner.records.folder import RunFolder
from tests.conftest import SMALL, Command, train_in

OVERRIDES = (*SMALL, "train.total_steps=4", "train.checkpoint_every=2", "train.sample_every=2", "train.grid=4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_in(tmp_path_factory.mktemp("outputs") / "run", *OVERRIDES)


@pytest.fixture(scope="module")
def slower(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_in(tmp_path_factory.mktemp("outputs") / "slower", *OVERRIDES, "train.sample_every=3", "train.grid=9")


@pytest.fixture
def film(entry_point: Command) -> Command:
    return partial(entry_point, main)


def bottom(frame: np.ndarray, picture: Path) -> tuple[np.ndarray, np.ndarray]:
    """The end of a frame that should show a picture, and the picture."""
    own = np.asarray(Image.open(picture).convert("RGB"))
    return frame[-own.shape[0] :], own


def test_each_picture_of_the_samples_is_a_frame(folder: RunFolder):
    frames = list(of_training([folder.path]))
    pictures = sorted((folder.path / "samples").glob("step-*.png"))
    assert len(frames) == len(pictures) == 2
    for frame, picture in zip(frames, pictures, strict=True):
        shown, own = bottom(frame, picture)
        assert np.array_equal(shown, own)


def test_checkpoints_give_the_pictures_that_the_training_made(folder: RunFolder):
    frames = list(of_training([folder.path], "checkpoints"))
    assert len(frames) == 2
    for frame, step in zip(frames, (2, 4), strict=True):
        shown, own = bottom(frame, folder.path / "samples" / f"step-{step:08d}.png")
        assert np.array_equal(shown, own)


def test_runs_are_aligned_by_step_and_keep_their_last_picture(folder: RunFolder, slower: RunFolder):
    frames = list(of_training([folder.path, slower.path]))
    assert len(frames) == 3  # steps 2, 3, 4
    left = 2 * 33 - 1
    assert (frames[0][:, :left] == frames[1][:, :left]).all()
    assert (frames[1][:, left + GAP :] != frames[2][:, left + GAP :]).any()
    assert {frame.shape for frame in frames} == {(2 * 20 + 3 * 33 - 1, left + GAP + 3 * 33 - 1, 3)}


def test_the_command_writes_the_film_into_the_first_run_folder(film: Command, folder: RunFolder, slower: RunFolder):
    answer = film(folder.path, slower.path)
    assert answer.out.strip() == str(folder.path / "film.webp")
    assert Image.open(folder.path / "film.webp").n_frames == 3


def test_the_pictures_of_points_are_frames(film: Command, tmp_path: Path):
    points = train_in(tmp_path / "run", *OVERRIDES, "dataset=ring8", "model=toy", "model.latent.dim=2")
    assert film(points.path, "--out", tmp_path / "film.png").code == 0
    answer = film(points.path, "--from", "checkpoints", "--out", tmp_path / "film.png")
    assert (answer.code, "this run makes points" in answer.err) == (2, True)


@pytest.mark.parametrize("damage", ["no picture", "a large one", "a link"])
def test_a_picture_that_is_damaged_is_named_and_a_link_is_not_read(film, folder, tmp_path: Path, damage: str):
    shutil.copytree(folder.path, tmp_path / "run")
    path = tmp_path / "run" / "samples" / "step-00000002.png"
    path.unlink()
    if damage == "no picture":
        path.write_bytes(b"nothing")
    elif damage == "a large one":
        Image.new("1", (5000, 5000)).save(path)
    else:
        path.symlink_to(folder.path / "samples" / "step-00000002.png")
    answer = film(tmp_path / "run", "--out", tmp_path / "film.webp")
    if damage == "a link":
        assert (answer.code, Image.open(tmp_path / "film.webp").n_frames) == (0, 1)
    else:
        assert (answer.code, len(answer.err.strip().splitlines())) == (2, 1)
        assert "step-00000002.png" in answer.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fps", "0"], "--fps=0"),
        (["--fps", "nan"], "--fps=nan"),
        (["--out", "film.avi"], "--out=film.avi"),
        (["--out", "/dev/null/film.gif"], "--out=/dev/null/film.gif cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence(film: Command, folder: RunFolder, arguments: list[str], words: str):
    answer = film(folder.path, *arguments)
    assert (answer.code, len(answer.err.strip().splitlines())) == (2, 1)
    assert words in answer.err


def test_an_interrupted_film_leaves_no_file(film, folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(parts: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gan_runner.film.training.side_by_side", interrupt)
    answer = film(folder.path, "--out", tmp_path / "film.webp")
    assert (answer.code, answer.err.strip()) == (130, "interrupted; no file was written.")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_run_or_has_no_pictures_is_named(film: Command, folder: RunFolder, tmp_path: Path):
    assert "is no run folder" in film(tmp_path / "nothing").err
    shutil.copytree(folder.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "samples")
    assert "--from checkpoints" in film(tmp_path / "run").err
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert "has no checkpoint yet" in film(tmp_path / "run", "--from", "checkpoints").err


def test_a_class_that_the_folder_names_is_not_executed(film: Command, folder: RunFolder, tmp_path: Path):
    shutil.copytree(folder.path, tmp_path / "run")
    config = RunFolder(tmp_path / "run").read_config()
    assert config is not None
    config["model"]["generator"] = {"_target_": "os.system", "command": f"touch {tmp_path / 'executed'}"}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    assert film(tmp_path / "run", "--from", "checkpoints").code == 2
    assert film(tmp_path / "run").code == 0  # its pictures are read all the same
    assert not (tmp_path / "executed").exists()
