"""Errors whose hint was once misleading: each row has the command line and the expected message."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gan_runner.cli.sentences import one_sentence
from gan_runner.dataset.images import ImageDataset
from gan_runner.model.mlp import MLPDiscriminator, MLPGenerator
from tests.conftest import SMALL, Command
from tests.dataset.pictures import encoded, pixels, write_folder

HERE = "tests.test_hints"
FEW = (*SMALL, "train.total_steps=1")


class OfTorch(torch.utils.data.TensorDataset):
    def __init__(self, labels_per_class: int | None = None):
        super().__init__(torch.zeros(3, 1, 8, 8))


def made(images: Tensor, labels: Tensor | None = None, names: tuple[str, ...] = ()) -> type[ImageDataset]:
    class Made(ImageDataset):
        def __init__(self, labels_per_class: int | None = None):
            super().__init__(images, labels, {"train": 40, "validation": 5, "test": 5}, names)

    return Made


PIXELS = torch.randint(256, (50, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
Numbers64 = made(PIXELS.double())
FourChannels = made(PIXELS.expand(50, 4, 8, 8))
Absent = made(PIXELS, torch.arange(50) % 2 * 2, ("cat", "dog", "owl"))


class Empty(ImageDataset):
    def __init__(self, labels_per_class: int | None = None):
        super().__init__(torch.zeros(0, 1, 8, 8, dtype=torch.uint8), None, {"train": 0})


class Squashed(MLPDiscriminator):
    """With a sigmoid too many."""

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(images, labels).sigmoid()


class Positive(MLPGenerator):
    """With a sigmoid in the place of the tanh."""

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(z, labels) / 2 + 0.5


class WithBatchNorm(nn.Module):
    """Without a setting that would take its norm away."""

    def __init__(self, spec):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(spec.size, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self.layers(images).squeeze(1)


def data(name: str) -> str:
    return f"dataset._target_={HERE}.{name}"


SENTENCES = {
    "a setting without its group": (["lr=1e-4"], "lr is no setting (did you mean 'optimizer.lr'?)"),
    "a group misspelt": (["los=wgan"], "los is no setting (did you mean 'loss'?)"),
    "another group misspelt": (["datset=mnist"], "(did you mean 'dataset'?)"),
    "a penalty that is not there": (
        ["loss.penalties={r1:{_target_:gan_runner.loss.penalty.R1}}"],
        "loss.penalties.r1 is not there yet; to add it, begin with a plus: +loss.penalties.r1._target_=",
    ),
    "a key within a dictionary": (
        ["train={batch_sise:32}"],
        "train.batch_sise is no setting (did you mean 'train.batch",
    ),
    "a path without image_folder": (
        ["dataset.path=photos"],
        "dataset.path is a setting of dataset=arrays, image_folder",
    ),
    "a width of another network": (["model.generator.width=3"], "model.generator.width is a setting of model=dcgan, "),
    "what is near in nothing but its group": (["train.init=x"], "train.init is no setting; --cfg job"),
    "an internal name": (["dataset.nope=1"], "dataset.nope is no setting; --cfg job"),
    "null for a number": (
        ["train.evaluate_every=null"],
        "train.evaluate_every=null should be of type int; its default is 0",
    ),
    "a number for a choice": (["device=3"], "device=3 should be one of auto, cpu, cuda"),
    "a number for a metric": (["metric=[3]"], "metric=[3] should be one or several, as [a,b], of classifier_fid"),
    "a sweep without -m": (
        ["loss=gan,wgan"],
        "loss=gan,wgan is several values, each of which is a run of a sweep: python -m",
    ),
    "a name that is not Latin": (["dataset=image_folder", "dataset.path=фото"], "letters beyond a to z needs quotes"),
    "512 pixels for r3gan": (
        ["model=r3gan_small", "dataset=synthetic", "dataset.height=512", "dataset.width=512", "dataset.count=20"],
        "set dataset.size=256 where",
    ),
    "96 pixels for dcgan": (
        ["model=dcgan", "dataset=synthetic", "dataset.height=96", "dataset.width=96", "dataset.count=20"],
        "set dataset.size=64 where",
    ),
    "418 pixels for dcgan": (
        ["model=dcgan", "dataset=synthetic", "dataset.height=418", "dataset.width=418", "dataset.count=20"],
        "set dataset.size=256 where",
    ),
    "a Dataset of torch": ([data("OfTorch")], "derive it from gan_runner.dataset.images.ImageDataset"),
    "float64": ([data("Numbers64")], "images should be a tensor (N, C, H, W), uint8 for pixels or float32"),
    "no image": ([data("Empty")], "dataset has no image in its training split"),
}


@pytest.mark.parametrize(("typed", "sentence"), SENTENCES.values(), ids=SENTENCES)
def test_a_mistake_is_refused_with_what_helps(command: Command, typed: list[str], sentence: str):
    small = FEW if not any(word.startswith("model") for word in typed) else ("device=cpu", "train.total_steps=1")
    answer = command(*small, *typed)
    assert answer.code == 2
    assert sentence in answer.err
    assert answer.err.strip().count("\n") == 0


def test_a_norm_is_recommended_only_to_a_network_that_has_the_setting(command: Command, tmp_path: Path):
    own = f"model.discriminator={{_target_:{HERE}.WithBatchNorm}}"
    config = tmp_path / "mine" / "model"
    config.mkdir(parents=True)
    text = (Path(__file__).parents[1] / "conf" / "model" / "mlp.yaml").read_text().split("discriminator:")[0]
    (config / "own.yaml").write_text(f"{text}discriminator:\n  _target_: {HERE}.WithBatchNorm\n")
    answer = command("--config-dir", str(config.parent), "model=own", "loss=wgan_gp", "device=cpu")
    assert answer.code == 2, own
    assert "take it out of WithBatchNorm, or put a layer norm in its place" in answer.err
    assert "norm=layer" not in answer.err


def test_a_sigmoid_too_many_is_noticed(command: Command):
    answer = command(*FEW, f"model.discriminator._target_={HERE}.Squashed")
    assert "advice: model.discriminator=Squashed gives scores from 0 to 1 alone" in answer.out
    assert "scores from 0 to 1" not in command(*FEW, "name=plain").out


def test_a_generator_of_positive_values_is_noticed(command: Command):
    answer = command(*FEW, f"model.generator._target_={HERE}.Positive")
    assert "advice: model.generator=Positive makes no value below 0, as a sigmoid does" in answer.out
    assert "makes no value below 0" not in command(*FEW, "name=plain").out


def test_classes_without_a_training_image_are_named(command: Command):
    typed = (*FEW, data("Absent"), "loss.generator_conditioning=one_hot", "loss.discriminator_conditioning=one_hot")
    answer = command(*(f"+{word}" if word.startswith("loss.") else word for word in typed))
    assert "no training image of these classes, which the generator does not learn then: dog" in answer.out


def test_a_metric_that_a_finished_run_lacks_is_taken_by_evaluate(command: Command):
    assert command(*FEW, "name=a").code == 0
    answer = command(*FEW, "name=a", "metric=[pixel_fid]")
    assert answer.code == 0
    assert "python -m gan_runner.evaluate outputs/a --metric pixel_fid" in answer.out


@pytest.mark.parametrize("wrong", ["train.total_steps=1.5", "train.on_divergence=foo", "train.patience=0"])
def test_a_finished_run_refuses_what_a_new_one_does(command: Command, wrong: str):
    assert command(*FEW, "name=a").code == 0
    answer = command(*FEW, "name=a", wrong)
    assert answer.code == 2
    assert wrong.split("=")[0] in answer.err


def test_a_moved_dataset_goes_on_and_another_is_refused(command: Command, in_tmp: Path):
    for place, first in (("one", 0), ("two", 0), ("three", 1)):
        write_folder(in_tmp / place, {f"{n}.png": encoded(pixels(first + n)) for n in range(30)})
    run = (*SMALL, "dataset=image_folder", "dataset.held_out=0", "dataset.cache_dir=cache", "name=a")
    assert command(*run, "dataset.path=one", "train.total_steps=1").code == 0
    assert command(*run, "dataset.path=two", "train.total_steps=2").code == 0
    answer = command(*run, "dataset.path=three", "train.total_steps=3")
    assert answer.code == 2
    assert "its images are not those that this run began with" in answer.err


def test_a_grid_of_two_classes_is_no_strip(command: Command, in_tmp: Path):
    for n in range(40):
        write_folder(in_tmp / "two", {f"{'ab'[n % 2]}/{n}.png": encoded(pixels(n))})
    typed = ("dataset=image_folder", "dataset.path=two", "dataset.held_out=0", "dataset.cache_dir=cache")
    conditional = ("+loss.generator_conditioning=one_hot", "+loss.discriminator_conditioning=one_hot")
    assert command(*FEW, *typed, *conditional, "name=a").code == 0
    width, height = Image.open(in_tmp / "outputs" / "a" / "samples" / "step-00000001.png").size
    assert width < 3.5 * height


@pytest.mark.parametrize(
    ("choice", "package"), [("launcher/joblib", "hydra-joblib-launcher"), ("sweeper/optuna", "hydra-optuna-sweeper")]
)
def test_a_plugin_that_is_not_installed_is_named_with_its_package(choice: str, package: str):
    hydra_says = f"In 'hydra/config': Could not find 'hydra/{choice}'\n\nAvailable options:\n\tbasic"
    sentence = f"hydra/{choice.replace('/', '=')} is not installed; make install brings it, or pip install {package}."
    assert one_sentence(ValueError(hydra_says)) == sentence


@pytest.mark.parametrize("typed", ["train.freeze=[1,2]", "optimizer=[1]", "loss.adversarial=[]"])
def test_a_list_in_the_place_of_a_node_is_told_the_settings(command: Command, typed: str):
    answer = command(*FEW, typed)
    assert answer.code == 2
    assert "Error merging" not in answer.err
    assert answer.err.count("\n") == 1
