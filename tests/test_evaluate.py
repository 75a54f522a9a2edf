"""The evaluate command: its values equal those of training and are added to them; nothing else changes."""

import json
import math
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gan_runner import sample
from gan_runner.evaluate import main, take_metrics
from gan_runner.evaluation.foreign import read_images
from gan_runner.metric.inputs import View
from gan_runner.records.folder import RunFolder
from gan_runner.spec import ImageSpec
from gan_runner.storage import lock
from tests.conftest import SMALL, Answer, Command, make_run, metrics, train_in
from tests.training.test_session import board, final_state, scalars

CHOSEN = ("metric=[classifier_fid,memorization,discriminator_gap]", "metric.n_fake=150")
EVERY = ("train.log_every=4", "train.evaluate_every=4", "train.checkpoint_every=4", "train.keep_checkpoints=9")
OVERRIDES = (*SMALL, *CHOSEN, *EVERY, "train.select_by=classifier_fid")
TOTAL = "train.total_steps=12"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_in(tmp_path_factory.mktemp("outputs") / "run", *OVERRIDES, TOTAL)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run without metrics."""
    return train_in(tmp_path_factory.mktemp("outputs") / "run", *SMALL, "train.total_steps=4", "name=plain")


@pytest.fixture
def folder(trained: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy, to write in."""
    shutil.copytree(trained.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.fixture
def evaluate(entry_point: Command) -> Command:
    return partial(entry_point, main)


def told(evaluate: Command, tmp_path: Path, *arguments: object) -> dict[str, Any]:
    """What the command writes as JSON."""
    answer = evaluate(*arguments, "--out", tmp_path / "out.json")
    assert answer.code == 0, answer
    return json.loads((tmp_path / "out.json").read_text())


def logged(folder: RunFolder, split: str = "") -> dict[int, dict[str, float]]:
    """Step -> values of the training's lines, by their names."""
    prefix = f"metric/{split}"
    lines = [line for line in metrics(folder) if any(tag.startswith("metric/") for tag in line)]
    found = {
        line["step"]: {t.removeprefix(prefix): v for t, v in line.items() if t.startswith(prefix)} for line in lines
    }
    return {
        step: {name: v for name, v in values.items() if "/" not in name} for step, values in found.items() if values
    }


# ---- the numbers


def test_all_checkpoints_have_the_values_of_the_training_to_the_last_digit(evaluate, folder: RunFolder, tmp_path: Path):
    found = told(evaluate, tmp_path, folder.path, "--checkpoint", "all", "--split", "validation")
    expected = logged(folder)
    assert list(found) == ["4", "8", "12"]
    for step, result in found.items():
        assert result["split"] == "validation"
        assert result["values"] == expected[int(step)]
        assert result["values"]["classifier_fid"] != found["4"]["values"]["classifier_fid"] or step == "4"


@pytest.mark.parametrize("which", ["last", "best"])
def test_the_test_split_has_the_values_of_the_summary(evaluate, folder: RunFolder, tmp_path: Path, which: str):
    expected = folder.read_summary()["metrics"][which]
    found = told(evaluate, tmp_path, folder.path, "--checkpoint", which)
    (step,) = found
    assert int(step) == expected["step"]
    assert found[step]["values"] == expected["test"]
    assert found[step]["protocol"] == folder.read_summary()["metrics"]["protocol"]["test"]


def test_a_step_is_that_step(evaluate, folder: RunFolder, tmp_path: Path):
    found = told(evaluate, tmp_path, folder.path, "--checkpoint", "8", "--split", "validation")
    assert found["8"]["values"] == logged(folder)[8]


def test_what_is_judged_does_not_depend_on_what_was_judged_before(evaluate, folder: RunFolder, tmp_path: Path):
    alone = told(evaluate, tmp_path, folder.path, "--metric", "discriminator_gap")
    again = told(evaluate, tmp_path, folder.path, "--metric", "pixel_fid", "classifier_kid", "discriminator_gap")
    assert alone["12"]["values"].items() <= again["12"]["values"].items()


def test_the_table_names_values_counts_and_features(evaluate, folder: RunFolder):
    answer = evaluate(folder.path, "--metric", "classifier_fid", "pixel_fid")
    assert f"{folder.path}, step 12, test split" in answer.out
    assert "180 real, 150 fake, classifier of the dataset (9" in answer.out
    assert "pixels 1x8x8" in answer.out


def test_a_run_without_metrics_is_measured(evaluate, plain: RunFolder, tmp_path: Path):
    found = told(evaluate, tmp_path, plain.path, "--metric", "pixel_fid", "modes", "--n-fake", "90", "--n-real", "70")
    values, protocol = found["4"]["values"], found["4"]["protocol"]
    assert values.keys() == {"pixel_fid", "modes", "reverse_kl", "total_variation"}
    assert (protocol["pixel_fid"]["n_real"], protocol["pixel_fid"]["n_fake"]) == (70, 90)
    assert protocol["modes"]["n_fake"] == 90
    same = make_run(*SMALL, "metric=[pixel_fid]", "metric.n_fake=90", "metric.n_real=70")
    same.load_state(torch.load(plain.checkpoints / "step-00000004.pt", weights_only=True)["state"])
    assert values["pixel_fid"] == take_metrics(same, "test").values["pixel_fid"]


def test_single_settings_are_set(evaluate, plain: RunFolder, tmp_path: Path):
    few = ("--metric", "pixel_kid", "--n-fake", "90")
    one = told(evaluate, tmp_path, plain.path, *few, "--set", "metric.pixel_kid.subsets=3", "metric.seed=7")
    assert one["4"]["protocol"]["pixel_kid"].items() >= {"subsets": 3, "seed": 7, "n_fake": 90}.items()
    assert one["4"]["values"] != told(evaluate, tmp_path, plain.path, *few)["4"]["values"]


def test_the_train_split_has_room_for_more_real_images(evaluate, plain: RunFolder, tmp_path: Path):
    few = ("--metric", "pixel_fid", "--n-fake", "90", "--n-real", "500")
    assert told(evaluate, tmp_path, plain.path, *few, "--split", "train")["4"]["protocol"]["pixel_fid"]["n_real"] == 500
    assert "n_real=500 is more than the 180 images of the test split" in evaluate(plain.path, *few).err


def test_a_cache_whose_name_is_odd_is_used(evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GAN_RUNNER_CACHE", str(tmp_path / "my, cache (x) 'y'"))
    run = train_in(tmp_path / "run", *SMALL, "train.total_steps=1")
    assert evaluate(run.path, "--metric", "pixel_fid", "--n-fake", "90").code == 0


# ---- what is left behind


def test_nothing_that_was_there_is_superseded(evaluate, folder: RunFolder):
    files = {path: path.read_bytes() for path in folder.checkpoints.iterdir()}
    lines, before, summary = folder.path / "metrics.jsonl", scalars(folder), folder.read_summary()
    old = lines.read_text()
    assert evaluate(folder.path, "--checkpoint", "all", "--metric", "pixel_fid", "classifier_score").code == 0
    assert {path: path.read_bytes() for path in folder.checkpoints.iterdir()} == files
    assert lines.read_text().startswith(old)
    added = [json.loads(line) for line in lines.read_text()[len(old) :].splitlines()]
    assert [line["step"] for line in added] == [4, 8, 12]
    assert all(math.isfinite(line["metric/test/pixel_fid"]) for line in added)
    assert added[0]["protocol"]["pixel_fid"]["split"] == "test"
    after = scalars(folder)
    assert before.items() <= after.items()
    assert [step for step, _ in after["metric/test/pixel_fid"]] == [4, 8, 12]
    assert len(board(folder).Tensors("protocol/text_summary")) > 0
    now = folder.read_summary()
    assert now["metrics"]["last"]["test"].items() >= summary["metrics"]["last"]["test"].items()
    assert now["metrics"]["last"]["test"]["pixel_fid"] == added[-1]["metric/test/pixel_fid"]
    assert now["metrics"]["best"]["validation"] == summary["metrics"]["best"]["validation"]
    assert {**now, "metrics": None} == {**summary, "metrics": None}
    assert now["metrics"]["protocol"]["test"]["pixel_fid"]["n_fake"] == 150


def test_a_value_by_another_protocol_does_not_take_the_place_of_one_in_the_summary(evaluate, folder: RunFolder):
    before = folder.read_summary()["metrics"]
    answer = evaluate(folder.path, "--n-fake", "120", "--metric", "classifier_fid", "pixel_fid", "--checkpoint", "best")
    assert "summary.json has them by another protocol: classifier_fid" in answer.out
    now = folder.read_summary()["metrics"]
    assert now["best"]["test"]["classifier_fid"] == before["best"]["test"]["classifier_fid"]
    assert now["protocol"]["test"]["classifier_fid"]["n_fake"] == 150
    assert now["protocol"]["test"]["pixel_fid"]["n_fake"] == 120
    last = json.loads((folder.path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["protocol"]["classifier_fid"]["n_fake"] == 120


def test_a_resume_afterwards_goes_on_as_before_and_keeps_the_lines(
    evaluate, trained, folder: RunFolder, tmp_path: Path
):
    longer = (*OVERRIDES, "train.total_steps=16")
    assert evaluate(folder.path, "--checkpoint", "all", "--metric", "pixel_fid").code == 0
    shutil.copytree(trained.path, tmp_path / "other")
    expected, found = (train_in(path, *longer) for path in (tmp_path / "other", folder.path))
    states = [final_state(run) for run in (found, expected)]
    assert states[0].pop("selection") == states[1].pop("selection")
    torch.testing.assert_close(*states, rtol=0, atol=0)
    own = [line for line in metrics(found) if "metric/test/pixel_fid" not in line]
    assert own == metrics(expected)
    assert [line["step"] for line in metrics(found) if line not in own] == [4, 8, 12]
    assert found.read_summary()["metrics"]["last"] == expected.read_summary()["metrics"]["last"]
    kept = scalars(found)
    assert [step for step, _ in kept.pop("metric/test/pixel_fid")] == [4, 8, 12]
    assert kept == scalars(expected)


def test_a_folder_that_cannot_be_written_is_told(evaluate, folder: RunFolder):
    for path in folder.path.glob("*.jsonl"):
        path.unlink()
        path.mkdir()
    answer = evaluate(folder.path, "--metric", "pixel_fid")
    check(answer, "cannot be written")


# ---- refusals


def check(answer: Answer, *words: str) -> None:
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err
    assert len(answer.err.strip().splitlines()) == 1, answer.err
    for word in words:
        assert word in answer.err


MISTAKES = {
    "a checkpoint that is not there": (["--checkpoint", "5"], ["--checkpoint=5", "steps 4, 8, 12"]),
    "what is no checkpoint": (["--checkpoint", "newest"], ["--checkpoint=newest", "last, best"]),
    "a metric that is misspelt": (["--metric", "clasifier_fid"], ["clasifier_fid", "did you mean 'classifier_fid'"]),
    "a split that is misspelt": (["--split", "tset"], ["--split=tset", "train, validation, test"]),
    "a setting that changes the run": (["--set", "train.batch_size=99"], ["batch_size was 16, now 99"]),
    "a setting that is misspelt": (["--set", "metric.n_fak=9"], ["metric.n_fak", "did you mean 'metric.n_fake'"]),
    "a setting without a value": (["--set", "metric.n_fake"], ["metric.n_fake is no setting=value"]),
    "a setting that is no YAML": (["--set", "metric.n_fake=[1"], ["cannot be read as YAML"]),
    "a setting of the wrong type": (["--set", "metric.memorization.cells=a"], ["metric.memorization.cells='a'"]),
    "too few samples": (["--n-fake", "1"], ["n_fake=1 must be at least 2"]),
    "fewer samples than neighbours": (["--n-fake", "3", "--metric", "density_coverage", "--n-real", "4"], ["k=5"]),
    "too many real images": (["--n-real", "999", "--metric", "pixel_fid"], ["n_real=999", "180 images of the test"]),
    "classes of a generator without": (["--metric", "conditional"], ["metric.conditional", "takes no class"]),
    "an error of no classifier": (["--metric", "test_error"], ["metric.test_error", "loss=semi_supervised"]),
    "a file that cannot be written": (["--metric", "pixel_fid", "--out", "/dev/null/x"], ["--out=/dev/null/x"]),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence(evaluate, folder: RunFolder, arguments: list[str], words: list[str]):
    check(evaluate(folder.path, *arguments), *words)


def test_what_is_no_run_or_has_nothing_to_measure_is_said_so(evaluate, plain: RunFolder, tmp_path: Path):
    check(evaluate(tmp_path / "nothing"), "is no run folder")
    check(evaluate(plain.path), "no metrics of its own", "--metric classifier_fid")
    check(evaluate(), "name a run folder")
    check(evaluate("--images", tmp_path), "--images needs real images to compare with")
    shutil.copytree(plain.path, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    check(evaluate(tmp_path / "run", "--metric", "pixel_fid"), "no checkpoint yet")
    assert not (tmp_path / "nothing").exists()


def test_a_run_that_is_being_trained_is_left_alone(evaluate, folder: RunFolder):
    with lock.hold(folder.path):
        check(evaluate(folder.path), "is in use by")


class Broken:
    """A user's metric with a mistake."""

    def __call__(self, view: View) -> dict[str, float]:
        raise RuntimeError("a mistake of the user's own")


def test_a_mistake_in_a_users_metric_is_not_blamed_on_the_checkpoint(evaluate, tmp_path: Path, caplog):
    run = train_in(tmp_path / "run", *SMALL, "train.total_steps=1")
    own = "tests.test_evaluate.Broken"
    config = run.config.read_text().replace("cache_dir:", f"broken:\n    _target_: {own}\n  cache_dir:", 1)
    run.config.write_text(config)
    check(evaluate(run.path), f"--trust {own}")
    sentence = "metric.broken: Broken raised RuntimeError (a mistake of the user's own)"
    check(evaluate(run.path, "--trust", own), sentence)
    assert "cannot be used" not in caplog.text


def test_a_damaged_summary_is_told_and_left_as_it_is(evaluate, tmp_path: Path):
    run = train_in(tmp_path / "run", *SMALL, "train.total_steps=1")
    run.summary.write_text('{"stat')
    check(evaluate(run.path, "--metric", "pixel_fid"), "summary.json is missing or damaged")
    assert run.summary.read_text() == '{"stat'


def test_a_number_of_samples_for_all_metrics_is_for_all_however_it_is_said(evaluate, tmp_path: Path, monkeypatch):
    run = train_in(tmp_path / "run", *SMALL, "train.total_steps=1", "metric=pixel_fid")
    with monkeypatch.context() as patch:
        patch.setenv("GAN_RUNNER_CACHE", str(tmp_path / "another"))
        for way in (["--n-fake", "70"], ["--set", "metric.n_fake=70"]):
            assert "180 real, 70 fake" in evaluate(run.path, *way).out
    assert (tmp_path / "another" / "metrics").is_dir()
    assert evaluate(run.path, "--metric", "memorization", "--n-fake", "70", "--n-real", "50").code == 0
    line = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[-1])
    assert {stamp["n_real"] for stamp in line["protocol"].values()} == {50}
    assert line["protocol"]["one_nearest_neighbour"]["n_fake"] == 50  # as many of either


def test_ctrl_c_is_one_sentence(evaluate, tmp_path: Path, monkeypatch):
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    run = train_in(tmp_path / "run", *SMALL, "train.total_steps=1")
    monkeypatch.setattr("gan_runner.evaluate.take_metrics", interrupted)
    answer = evaluate(run.path, "--metric", "pixel_fid")
    assert (answer.code, answer.err.count("\n")) == (130, 1)


# ---- images of whatever origin


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    told_classes = ("model.generator.conditioning=one_hot", "model.discriminator.conditioning=one_hot")
    path = tmp_path_factory.mktemp("outputs") / "run"
    return train_in(path, *SMALL, *told_classes, "train.total_steps=2", "metric=[classifier_fid]", "metric.n_fake=300")


@pytest.fixture
def written(entry_point: Command, tmp_path: Path) -> Iterator[Any]:
    def write(run: RunFolder, kind: str, count: int) -> Path:
        out = tmp_path / ("images" + ".npz" * (kind == "npz"))
        assert entry_point(sample.main, run.path, "--format", kind, "--count", count, "--out", out).code == 0
        return out

    return write


@pytest.mark.parametrize("kind", ["png", "npz"])
@pytest.mark.parametrize("run", ["trained", "conditional"])
def test_samples_as_files_have_the_values_of_their_run(evaluate, written, request, tmp_path: Path, run: str, kind: str):
    origin = request.getfixturevalue(run)
    count = origin.read_summary()["metrics"]["protocol"]["test"]["classifier_fid"]["n_fake"]
    out = written(origin, kind, count)
    found = told(evaluate, tmp_path, origin.path, "--images", out, "--metric", "classifier_fid")[str(out)]
    assert found["values"]["classifier_fid"] == origin.read_summary()["metrics"]["last"]["test"]["classifier_fid"]
    assert found["protocol"]["classifier_fid"]["weights"] == "images"
    assert found["protocol"]["classifier_fid"]["n_fake"] == count
    by_dataset = told(evaluate, tmp_path, "--images", out, "--dataset", "digits", "--metric", "classifier_fid")
    assert by_dataset[str(out)]["values"] == found["values"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A few images of noise, of the size of digits."""
    (tmp_path / "images").mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(256, size=(8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    return tmp_path / "images"


def scored(evaluate: Command, path: Path, *arguments: object) -> Answer:
    return evaluate("--images", path, "--dataset", "digits", "--metric", "pixel_fid", *arguments)


def test_colour_files_of_a_gray_dataset_are_read_as_gray(evaluate, images: Path):
    plain = scored(evaluate, images).out
    for path in images.iterdir():
        Image.open(path).convert("RGB").save(path)
    assert scored(evaluate, images).out == plain


def test_metrics_of_players_need_players(evaluate, images: Path):
    answer = evaluate("--images", images, "--dataset", "digits", "--metric", "discriminator_gap")
    check(answer, "metric.discriminator_gap", "samples alone")
    answer = evaluate("--images", images, "--dataset", "digits", "--metric", "test_error")
    check(answer, "metric.test_error", "samples alone")


def test_images_that_cannot_be_compared_are_one_sentence(evaluate, images: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    check(scored(evaluate, tmp_path / "empty"), "holds no image")
    check(scored(evaluate, tmp_path / "nowhere"), "does not exist")
    check(scored(evaluate, images, "--checkpoint", "best"), "--checkpoint is of a run")
    check(scored(evaluate, images, "--out", tmp_path / "no" / "x.json"), "--out=")
    check(scored(evaluate, images, "--n-fake", "13"), "n_fake=13", "12 samples")
    check(evaluate("--images", images, "--dataset", "digits"), "--metric")
    check(evaluate("--images", images, "--dataset", "ring8", "--metric", "pixel_fid"), "are pictures")
    check(evaluate("--images", images, "--dataset", "digit", "--metric", "pixel_fid"), "digit")
    Image.new("L", (9, 8)).save(images / "large.png")
    check(scored(evaluate, images), "9x8 pixels", "dataset of 8x8")
    (images / "large.png").write_bytes((images / "0.png").read_bytes()[:60])
    check(scored(evaluate, images), "large.png cannot be read")


BAD = {
    "floats": np.zeros((3, 8, 8, 1)),
    "three axes": np.zeros((3, 8, 8), np.uint8),
    "four channels": np.zeros((3, 8, 8, 4), np.uint8),
    "none": np.zeros((0, 8, 8, 1), np.uint8),
    "objects": np.array([{}]),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_an_npz_of_something_else_is_one_sentence(evaluate, tmp_path: Path, content: np.ndarray):
    np.savez(tmp_path / "x.npz", images=content)
    check(scored(evaluate, tmp_path / "x.npz"), "(N, H, W, C) uint8")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"text", b"\x93NUMPY\x01\x00"], ids=str)
def test_an_npz_that_is_broken_is_one_sentence(evaluate, tmp_path: Path, content: bytes):
    (tmp_path / "x.npz").write_bytes(content)
    check(scored(evaluate, tmp_path / "x.npz"), "x.npz cannot be read")


def test_images_are_decoded_as_those_of_a_dataset(tmp_path: Path):
    gray = np.random.default_rng(0).integers(256, size=(8, 8), dtype=np.uint8)
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "0.png")
    Image.merge("LA", (Image.fromarray(gray), Image.new("L", (8, 8), 0))).save(tmp_path / "1.png")
    deep, clear = read_images(tmp_path, ImageSpec(1, 8, 8))
    assert np.array_equal(deep[0].numpy(), gray)
    assert clear.min() == 255  # transparent: white
