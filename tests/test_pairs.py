"""Networks, conditionings, losses, augmentations, precisions and shapes of images: every two at least once."""

import itertools
from collections.abc import Iterator

import pytest

from gan_runner.errors import ConfigError
from tests.conftest import CPUS, make_run
from tests.game.test_algorithm import GROUPED, SYNTHETIC, THIN, check_two_steps, told

ALL, LARGE = ((1, 8), (1, 28), (3, 32), (3, 64)), ((3, 32), (3, 64))
NORMS = ("none", "one_hot", "embedding", "projection", "norm")
NO_NORMS = NORMS[:-1]
NETWORKS = {  # settings, the images it is for, how it takes labels
    "mlp": ((), ALL, NORMS),
    "dcgan": (THIN, ALL, NORMS),
    "mlp_2014": ((), ALL, NO_NORMS),
    "mlp_keras": ((), ALL, NORMS),
    "mlp_small": ((), ALL, NO_NORMS),
    "mlp_mirza": ((), ALL, ("its own",)),
    "dcgan_conditional": ((), ALL, ("its own",)),
    "sngan_cnn": ((), ((1, 8), *LARGE), NORMS),
    "dcgan_wgan_gp": ((), ((1, 28), (3, 32)), NO_NORMS),
    "resnet": (THIN, LARGE, NORMS),
    "r3gan_small": ((*THIN, *GROUPED), ((1, 8), *LARGE), NO_NORMS),
    "ssl_mlp": ((), ALL, ("none",)),
    "ssl_cnn": ((), LARGE, ("none",)),
}
LABELS = {
    "none": told("none", "none"),
    "one_hot": told("one_hot", "one_hot"),
    "embedding": told("embedding", "embedding"),
    "projection": told("one_hot", "projection"),
    "norm": told("norm", "projection"),
    "its own": (),
}
LOSSES = ("gan", "wgan_gp", "hinge", "r3gan")
AUGMENTATIONS = {
    "none": (),
    "flip": ("augment=flip",),
    "diffaugment": ("augment=diffaugment",),
    "ada": ("augment=ada", "augment.probability=0.5", "augment.imgfilter=1", "augment.noise=1", "augment.cutout=1"),
}
PRECISIONS = ("fp32", "bf16")
WIDE = ("sngan_cnn", "dcgan_wgan_gp", "dcgan_conditional", "ssl_cnn")  # which take seconds in 16 bits on a CPU
Case = tuple[str, tuple[int, int], str, str, str, str]


def cases() -> Iterator[Case]:
    for network, (_, shapes, labels) in NETWORKS.items():
        small = shapes[:1] if network == "ssl_cnn" else shapes  # its 64x64 would take minutes
        for rest in itertools.product(small, labels, LOSSES, AUGMENTATIONS, PRECISIONS):
            yield (network, *rest)


def pairs(case: Case) -> set[tuple[object, ...]]:
    return {((i, case[i]), (j, case[j])) for i, j in itertools.combinations(range(len(case)), 2)}


def covering() -> list[Case]:
    """Cases, each the one that brings the most pairs that are still missing, until none is."""
    chosen: list[Case] = []
    possible = {case: pairs(case) for case in cases()}
    missing = set().union(*possible.values())
    while missing:
        best = max(possible, key=lambda case: len(possible[case] & missing))
        chosen.append(best)
        missing -= possible[best]
    return chosen


def in_turn() -> Iterator[Case]:
    """Every network with every loss, on its smallest images; labels, augmentations and precisions take turns.

    The tests of game/test_algorithm.py have every loss with mlp and dcgan; of a published network two are enough.
    """
    for row, (network, (_, shapes, labels)) in enumerate(NETWORKS.items()):
        for column, loss in enumerate(LOSSES):
            conditioning, augment = (
                labels[(row + column // 2) % len(labels)],
                (*AUGMENTATIONS,)[(row // 4 + column) % 4],
            )
            precisions = PRECISIONS[:1] if network in WIDE else (*CPUS,)
            yield network, shapes[0], conditioning, loss, augment, precisions[(row + column) % len(precisions)]


def overrides(case: Case) -> tuple[str, ...]:
    network, (channels, side), labels, loss, augment, precision = case
    images = (f"dataset.channels={channels}", f"dataset.height={side}", f"dataset.width={side}")
    unlabelled = ("dataset.num_classes=0",) if labels == "none" else ()
    norm = ("model.discriminator.norm=none",) if network == "resnet" else ()
    chosen = (f"model={network}", f"loss={loss}", *CPUS[precision], *norm)
    told_how = () if network.startswith("ssl") else LABELS[labels]
    return (*SYNTHETIC, *images, *unlabelled, *chosen, *NETWORKS[network][0], *told_how, *AUGMENTATIONS[augment])


def named(case: Case) -> str:
    return f"{case[0]}-{case[1][1]}-{'-'.join(case[2:])}"


def slow(case: Case) -> bool:
    """Whether the case is in the long set: half of the losses, and ssl_cnn, which its recipe covers."""
    network, loss = (*NETWORKS,).index(case[0]), LOSSES.index(case[3])
    return case[0] == "ssl_cnn" or (network + loss) % 2 == 0


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=named(case), marks=[pytest.mark.long] * slow(case)) for case in in_turn()]
)
def test_every_network_trains_with_every_loss_and_resumes(case: Case):
    check_two_steps(*overrides(case))


@pytest.mark.long
@pytest.mark.parametrize("case", covering(), ids=named)
def test_two_steps_of_each_pair_of_choices(case: Case):
    check_two_steps(*overrides(case))


@pytest.mark.parametrize("network", NETWORKS)
def test_images_that_a_network_cannot_make_are_refused_in_one_sentence(network: str):
    labels = NETWORKS[network][2][-1]
    for shape in set(ALL) - set(NETWORKS[network][1]):
        with pytest.raises(ConfigError, match=r"makes .*images of .*; set dataset.size=") as caught:
            make_run(*overrides((network, shape, labels, "gan", "none", "fp32")))
        assert len({sentence.split(": ")[-1] for sentence in caught.value.sentences}) == 1
