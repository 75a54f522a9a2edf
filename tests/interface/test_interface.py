"""The Python interface does what the commands do, to the bit, and leaves the process as it was."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gan_runner as gr
from gan_runner import evaluate, sample
from gan_runner.model.latent import Latent
from gan_runner.records import checkpoint
from gan_runner.records.folder import RunFolder
from tests.conftest import SMALL, Command, metrics

ROOT = Path(__file__).parents[2]
SHORT = (*SMALL, "train.total_steps=6", "train.log_every=2", "train.checkpoint_every=4", "train.sample_every=4")


def train(*overrides: str) -> gr.TrainedRun:
    return gr.train(gr.compose(*SHORT, *overrides), progress=False)


def leaves(node: Any, path: str = "") -> dict[str, Any]:
    if isinstance(node, dict):
        return {key: leaf for name, below in node.items() for key, leaf in leaves(below, f"{path}.{name}").items()}
    if isinstance(node, list | tuple):
        return leaves(dict(enumerate(node)), path)
    return {path: node}


def states(path: Path) -> list[dict[str, Any]]:
    """The content of all checkpoints, without the seconds, and without the length that schedules have."""
    found = [leaves(checkpoint.load(each).state) for each in checkpoint.checkpoints(path / "checkpoints")]
    return [
        {key: value for key, value in state.items() if not key.endswith(("seconds", "counters.length"))}
        for state in found
    ]


def check_equal(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert torch.equal(value, b[key]) if isinstance(value, torch.Tensor) else value == b[key], key


def test_the_import_loads_no_library():
    code = "import sys, gan_runner; print({'torch', 'hydra', 'pandas', 'numpy', 'omegaconf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


def test_no_public_name_is_a_module_or_a_folder_and_every_one_is_there():
    places = {path.stem for path in (ROOT / "gan_runner").iterdir()}
    assert not set(gr.__all__) & places
    assert all(getattr(gr, name).__name__ == name for name in gr.__all__)
    assert set(gr.__all__) == {name for names in gr.HOMES.values() for name in names}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gr.nothing  # type: ignore[attr-defined]


# ---- compose


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        pytest.param(["losss=gan"], "losss is no setting (did you mean 'loss'?)", id="unknown"),
        pytest.param(["seed=1,2"], "seed=1,2 is several values", id="a sweep"),
        pytest.param(["loss=gan,wgan"], "loss=gan,wgan is several values", id="a sweep of a group"),
        pytest.param(["hydra.verbose=true"], "is a setting of the command", id="hydra"),
        pytest.param(["loss=[gan]"], "loss=[gan] should be one choice", id="a list"),
        pytest.param(["train.total_steps=${nowhere}"], "nowhere", id="an interpolation"),
        pytest.param(["train.sample_every=1", "train.sample_every_images=9"], "say the same thing twice", id="twice"),
    ],
)
def test_a_wrong_override_is_refused_in_a_sentence(overrides: list[str], sentence: str):
    with pytest.raises(gr.ConfigError) as refused:
        gr.compose(*overrides)
    assert sentence in str(refused.value)


def test_a_configuration_is_read_by_dotted_keys_and_cannot_be_changed():
    config = gr.compose("loss=wgan_gp", "optimizer.lr=1e-4", "name=mine")
    assert config["optimizer.lr"] == config["optimizer"]["lr"] == 1e-4
    assert config["optimizer.generator.betas"] == (0.0, 0.9)
    assert "loss.n_critic" in config
    assert "loss.nothing" not in config
    assert str(config.path) == "outputs/mine"
    assert repr(config) == "compose('loss=wgan_gp', 'optimizer.lr=1e-4', 'name=mine')"
    with pytest.raises(TypeError):
        config["optimizer"]["lr"] = 1.0


def test_choices_of_the_user_are_found_beside_his_classes(in_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (in_tmp / "mine" / "augment").mkdir(parents=True)
    (in_tmp / "mine" / "augment" / "own.yaml").write_text("_target_: own_augment.Own\n")
    (in_tmp / "mine" / "own_augment.py").write_text(
        "from gan_runner.augment.none import NoAugmentation\n\n\nclass Own(NoAugmentation):\n    pass\n"
    )
    config = gr.compose(*SHORT, "augment=own", config_dir="mine")
    assert "--config-dir" in config.command
    assert gr.train(config, progress=False).status == "completed"
    assert gr.compose(*SHORT)["augment"]["_target_"].startswith("gan_runner.")  # the next one is without them
    with pytest.raises(gr.ConfigError, match="config_dir=nowhere is no folder"):
        gr.compose(config_dir="nowhere")


# ---- train


def test_training_is_that_of_the_command(command: Command):
    answer = command(*SHORT, "loss=wgan_gp", "seed=1")
    assert answer.code == 0, answer.err
    config = gr.compose(*SHORT, "loss=wgan_gp", "seed=1")
    by_command = config.path.rename(config.path.with_name("moved"))
    run = gr.train(config, progress=False)
    assert (run.path, run.status, run.steps) == (config.path, "completed", 6)
    check_equal(states(run.path), states(by_command))
    assert metrics(RunFolder(run.path)) == metrics(RunFolder(by_command))
    assert (run.path / "config.yaml").read_bytes() == (by_command / "config.yaml").read_bytes()
    one, other = (json.loads((path / "summary.json").read_text()) for path in (run.path, by_command))
    assert {key for key in one if one[key] != other[key]} <= {
        *("seconds", "images_per_second", "peak_memory_mb", "last", "command", "verdicts")
    }
    assert command(*SHORT, "loss=wgan_gp", "seed=1").out.count("is finished") == 1


def test_the_same_call_goes_on_and_several_runs_follow_one_another(in_tmp: Path):
    whole = train("name=whole")
    first = train("name=parts", "train.total_steps=4")
    assert first.steps == 4
    train("name=between", "loss=wgan_gp", "device.precision=bf16")  # leaves nothing behind
    second = train("name=parts")
    check_equal(states(second.path)[-1:], states(whole.path)[-1:])


def test_an_interrupt_leaves_a_checkpoint_and_a_result(in_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    whole = train("name=whole")
    from gan_runner.training.run import Run

    step = Run.step

    def interrupted(self: Run) -> Any:
        if self.clock.steps == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(Run, "step", interrupted)
    with pytest.raises(gr.Interrupted, match="SIGINT at step 3; the same call") as end:
        train("name=parts")
    monkeypatch.setattr(Run, "step", step)
    signal.signal(signal.SIGINT, before)
    assert isinstance(end.value, KeyboardInterrupt)
    assert (end.value.run.status, end.value.run.steps) == ("interrupted", 3)
    assert train("name=parts").status == "completed"
    check_equal(states(Path("outputs/parts"))[-1:], states(whole.path)[-1:])


def test_the_process_gets_its_settings_of_torch_back(in_tmp: Path, capfd: pytest.CaptureFixture[str]):
    import logging

    log, threads = logging.getLogger("gan_runner"), torch.get_num_threads()
    before = (log.level, list(log.handlers))
    torch.set_num_threads(threads + 1)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    gr.train(gr.compose(*SHORT, "device.deterministic=true"))
    assert "step 2" in capfd.readouterr().out
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads + 1
    assert not torch.are_deterministic_algorithms_enabled()
    assert (log.level, list(log.handlers)) == before
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        pytest.param(["train.batch_size=0"], "train.batch_size=0 must be above 0", id="a setting"),
        pytest.param(["loss=acgan", "dataset=ring8", "model=toy"], "needs labels", id="a pair"),
    ],
)
def test_a_refusal_is_that_of_the_command(command: Command, overrides: list[str], sentence: str):
    answer = command(*overrides)
    with pytest.raises(gr.ConfigError, match=sentence) as refused:
        gr.train(gr.compose(*overrides))
    assert answer.code == 2
    assert str(refused.value) in answer.err
    assert not Path("outputs").exists()


def test_train_takes_what_compose_returns():
    with pytest.raises(gr.ConfigError, match=r"not dict: train\(compose"):
        gr.train({"loss": "gan"})  # type: ignore[arg-type]


# ---- load


@pytest.mark.parametrize(
    ("options", "named"),
    [
        pytest.param(["--count", "7", "--seed", "3"], {"count": 7, "seed": 3}, id="labels in turn"),
        pytest.param(["--labels", "3,5", "--count", "9"], {"count": 9, "labels": [3, "5"]}, id="two labels"),
    ],
)
def test_samples_are_the_bytes_of_the_command(in_tmp: Path, entry_point: Command, options: Any, named: Any):
    run = train("model.generator.conditioning=one_hot", "model.discriminator.conditioning=one_hot", "name=run")
    images = run.load().sample(**named)
    assert entry_point(sample.main, run.path, *options, "--format", "npz", "--out", "command.npz").code == 0
    images.save("python.npz")
    with np.load("command.npz") as by_command, np.load("python.npz") as by_python:
        assert np.array_equal(by_command["images"], by_python["images"])
        assert np.array_equal(by_command["labels"], by_python["labels"])
        assert np.array_equal(np.asarray(images), by_command["images"])
    assert entry_point(sample.main, run.path, *options, "--out", "command.png").code == 0
    by_class = run.load().sample(**named, by_class=True)
    by_class.save("python.png")
    assert Path("python.png").read_bytes() == Path("command.png").read_bytes() == by_class._repr_png_()


def test_a_second_sample_of_a_model_is_the_same(in_tmp: Path):
    model = train("model.generator.norm=batch").load()
    assert torch.equal(model.sample(5).tensor, model.sample(5).tensor)
    assert not torch.equal(model.sample(5).tensor, model.sample(5, seed=1).tensor)


def test_metrics_are_those_of_the_command(in_tmp: Path, entry_point: Command):
    run = train("name=run")
    answer = entry_point(
        evaluate.main, run.path, "--metric", "pixel_fid", "--n-fake", 300, "--checkpoint", 4, "--out", "found.json"
    )
    assert answer.code == 0, answer.err
    found = gr.load("outputs/run", checkpoint=4).evaluate(["pixel_fid"], n_fake=300)
    expected = json.loads(Path("found.json").read_text())["4"]
    assert dict(found) == expected["values"]
    assert (found.step, found.split, found.protocols) == (4, "test", expected["protocol"])
    assert gr.load("outputs/run").evaluate(["pixel_fid"], n_fake=300)["pixel_fid"] == run.scores["last/test/pixel_fid"]


def test_nothing_that_a_folder_names_is_executed_without_trust(in_tmp: Path):
    train("name=run")
    path, own = Path("outputs/run/config.yaml"), "tests.interface.test_interface.Own"
    path.write_text(path.read_text().replace("gan_runner.model.latent.Latent", own))
    with pytest.raises(gr.ConfigError, match=f"--trust {own}"):
        gr.load("outputs/run")
    with pytest.raises(gr.ConfigError, match="should be a list"):
        gr.load("outputs/run", trust=own)
    assert isinstance(gr.load("outputs/run", trust=[own]).sampler.latent, Own)


class Own(Latent):
    """A class of the user."""


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        pytest.param({"count": 0}, "--count=0 must be at least 1", id="none"),
        pytest.param({"count": 10**12}, "GB of memory", id="too many"),
        pytest.param({"labels": [1]}, "does not use labels", id="labels"),
    ],
)
def test_a_wrong_request_for_samples_is_refused(in_tmp: Path, named: Any, sentence: str):
    with pytest.raises(gr.ConfigError, match=sentence):
        train().load().sample(**named)


def test_a_wrong_argument_is_a_sentence(in_tmp: Path):
    model = train().load()
    with pytest.raises(gr.ConfigError, match=r"metrics='pixel_fid' should be a list: metrics=\['pixel_fid'\]"):
        model.evaluate("pixel_fid")
    with pytest.raises(gr.ConfigError, match=r"formats='pt2' should be a list"):
        model.export("pt2")
    with pytest.raises(gr.ConfigError, match="names --format zip, but the images are written as --format npz"):
        model.save("fakes.zip", 10, shard=5)
    with pytest.raises(gr.ConfigError, match="interpolate needs two seeds"):
        model.interpolate([])
    assert not Path("fakes.zip").exists()


def test_points_make_no_picture(in_tmp: Path):
    images = train("dataset=ring8", "model=toy", "model.generator.widths=[8]", "model.discriminator.widths=[8]").load()
    found = images.sample(10)
    assert found.numpy().shape == (10, 1, 1, 2)
    assert found._repr_png_() is None
    with pytest.raises(gr.ConfigError, match="these are points"):
        found.save("points.png")
    with pytest.raises(gr.ConfigError, match=r"should end in \.npz, \.png or \.zip"):
        found.save("points.gif")


# ---- frames


def test_frames_have_the_values_of_the_folders(in_tmp: Path):
    runs = [train(f"loss={loss}", f"seed={seed}", "study=first") for loss in ("gan", "hinge") for seed in (0, 1, 2)]
    frame = gr.runs("outputs/first/*")
    assert len(frame) == len(runs)
    for run in runs:
        row = frame.loc[str(run.path)]
        assert (row["status"], row["steps"], row["train.batch_size"]) == ("completed", 6, 16)
        assert row["loss/generator"] == pytest.approx(run.summary["last"]["loss/generator"])
        assert row["loss"] in row.name or row["loss"] == "gan"
    curves = gr.curves("outputs/first/*", "loss/generator")
    assert list(curves.index) == [2, 4, 6]
    logged = [line["loss/generator"] for line in metrics(RunFolder(runs[0].path)) if "loss/generator" in line]
    assert list(curves[runs[0].path.name]) == logged
    assert list(gr.curves(str(runs[0].path), "loss/generator", axis="images").index) == [32, 64, 96]
    table = gr.ranking("outputs/first/*", by="loss", select="loss/generator:low")
    means = frame.groupby("loss")["loss/generator"].mean().sort_values()
    assert list(table["loss"]) == list(means.index)
    assert list(table["loss/generator last"]) == pytest.approx(list(means))
    assert list(table["rank"]) == [1, 2]
    assert list(table["n"]) == [3, 3]
    assert "sorted by the last loss/generator" in table.attrs["conclusions"][0]
    with pytest.raises(gr.ConfigError, match=r"no run has logged loss/gen \(did you mean 'loss/generator'"):
        gr.curves("outputs/first/*", "loss/gen")
    with pytest.warns(UserWarning, match="is not there"), pytest.raises(gr.ConfigError, match="no run to compare"):
        gr.runs("nowhere")
