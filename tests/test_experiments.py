"""Every recipe composes, names its source, and trains on images with the shape of its dataset."""

import re

import pytest
import torch

from gan_runner.cli.places import CONF
from tests.conftest import configure, make_run

RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
DOWNLOADED = {  # channels, side, classes
    "mnist": (1, 28, 10),
    "stacked_mnist": (3, 28, 1000),
    "cifar": (3, 32, 10),
    "celeba": (3, 64, 0),
}
PLAYERS = ("generator", "discriminator")
THIN = tuple(f"model.{player}.{size}" for player in PLAYERS for size in ("width=48", "groups=6"))
NARROW = tuple(f"model.{player}.width=16" for player in PLAYERS)
NARROWER = {  # where two steps would take seconds
    **dict.fromkeys(("r3gan_cifar10", "r3gan_small_cifar10"), THIN),
    **dict.fromkeys(("acgan_cifar10", "projection_cifar10", "sngan_cifar10"), NARROW),
    **dict.fromkeys(("wgan_gp_cifar10", "wgan_div_cifar10", "dcgan_cifar10", "dcgan_celeba64"), NARROW),
}
MINUTES = ("r3gan_cifar10", "r3gan_small_cifar10")  # at their own width


def stand_in(recipe: str) -> tuple[str, ...]:
    """The dataset of the recipe, replaced by noise of its shape where it must be downloaded."""
    dataset = configure(f"experiment={recipe}")["dataset"]
    name = dataset["_target_"].split(".")[-2]
    if name not in DOWNLOADED:
        return ()
    channels, side, classes = DOWNLOADED[name]
    shape = (f"dataset.channels={channels}", f"dataset.height={side}", f"dataset.width={side}")
    few = ["dataset.labels_per_class=2"] if dataset.get("labels_per_class") else ["dataset.labels_per_class=null"]
    return ("dataset=synthetic", *shape, f"dataset.num_classes={classes}", "dataset.count=200", *few)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains(recipe: str):
    check_that_it_trains(recipe, *NARROWER.get(recipe, ()))


@pytest.mark.long
@pytest.mark.parametrize("recipe", [recipe for recipe in NARROWER if recipe not in MINUTES])
def test_a_recipe_trains_at_its_own_width(recipe: str):
    check_that_it_trains(recipe)


def check_that_it_trains(recipe: str, *smaller: str) -> None:
    small = ("train.batch_size=4", "train.generator_batch_size=4", "metric=[]", "device=cpu")
    run = make_run(f"experiment={recipe}", *stand_in(recipe), *small, *smaller)
    players = (run.generator, run.discriminator)
    before = [[weight.detach().clone() for weight in player.network.parameters()] for player in players]
    for _ in range(2):
        stats = run.step()
    assert all(value.isfinite() for value in stats.values())
    for player, weights in zip(players, before, strict=True):
        moved = not all(map(torch.equal, weights, player.network.parameters()))
        assert moved == (player.rates != [0.0]), player.name


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_says_what_to_expect(recipe: str):
    text = (CONF / "experiment" / f"{recipe}.yaml").read_text()
    words = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
    for word in ("cost: ", "verified: "):
        assert word in words
    assert re.search(r"(19|20)\d\d|tutorials|published|closed form|WGAN-GP", words)
    assert re.search(r"verified: (no|[\w, ]*(steps|seeds|every loss))", words)
