"""Every recipe: it composes, says where it comes from, and trains on images of its dataset's shape."""

import re

import pytest
import torch

from gan_runner.cli.places import CONF
from tests.conftest import configure, make_run

RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
DOWNLOADED = {  # channels, side, classes
    "mnist": (1, 28, 10),
    "cifar": (3, 32, 10),
    "celeba": (3, 64, 0),
}
THIN = (f"model.{player}.{size}" for player in ("generator", "discriminator") for size in ("width=48", "groups=6"))
NARROWER = dict.fromkeys(("r3gan_cifar10", "r3gan_small_cifar10"), tuple(THIN))  # where two steps would take minutes


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
    small = ("train.batch_size=4", "train.generator_batch_size=4", "device=cpu")
    run = make_run(f"experiment={recipe}", *stand_in(recipe), *small, *NARROWER.get(recipe, ()))
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
