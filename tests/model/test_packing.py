"""Packing against its definition: packs of images by hand, and what is refused."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gan_runner.errors import ConfigError
from gan_runner.loss.adversarial import NonSaturating
from gan_runner.model.mlp import MLPDiscriminator
from gan_runner.model.packing import Packed, packed_spec
from gan_runner.spec import ImageSpec
from tests.conftest import SMALL, make_run

SPEC = ImageSpec(1, 2, 2)


def packed(pack: int) -> Packed:
    torch.manual_seed(0)
    return Packed(MLPDiscriminator(packed_spec(SPEC, pack), [5]), pack)


def test_each_image_has_the_score_of_its_pack():
    network, images = packed(3), torch.randn(6, *SPEC.shape)
    inside = network.discriminator
    by_hand = [inside(torch.cat([*images[start : start + 3]])[None]) for start in (0, 3)]
    assert_close(network(images), torch.cat([by_hand[0].expand(3), by_hand[1].expand(3)]))


def test_the_first_layer_has_a_weight_for_each_image_of_the_pack():
    """2 images of 4 pixels: 8 numbers to 5 units; a score of 5."""
    assert sum(parameter.numel() for parameter in packed(2).parameters()) == 9 * 5 + 6


def test_the_loss_and_its_gradient_are_means_over_packs():
    network, real, fake = packed(2), torch.randn(8, *SPEC.shape), torch.randn(8, *SPEC.shape)
    parameters = list(network.parameters())
    loss = NonSaturating().discriminator(network(real), network(fake))
    packs = [network.discriminator(images.view(4, 2, 2, 2)) for images in (real, fake)]
    of_packs = nn.functional.softplus(-packs[0]).mean() + nn.functional.softplus(packs[1]).mean()
    assert_close(loss, of_packs)
    assert_close(torch.autograd.grad(loss, parameters), torch.autograd.grad(of_packs, parameters))


def test_a_last_pack_is_completed_with_the_first_images():
    network, images = packed(4), torch.randn(6, *SPEC.shape)
    assert_close(network(images), network(torch.cat([images, images[:2]]))[:6])
    assert network(images[:1]).shape == (1,)


def test_a_run_trains_with_packs_and_differs_from_one_without():
    first = {pack: make_run(*SMALL, f"model.pack={pack}", "device=cpu").step()["loss/discriminator"] for pack in (1, 2)}
    assert first[1].isfinite()
    assert first[2].isfinite()
    assert first[1] != first[2]


REFUSED = {
    "no whole number": (("model.pack=0",), "model.pack=0 should be a whole number, 1 or more"),
    "a batch that leaves an image over": (("model.pack=3",), "train.batch_size=16 does not divide into packs"),
    "a penalty of single samples": (("model.pack=2", "loss=wgan_gp"), "set model.pack=1"),
    "labels": (
        *[("model.pack=2", "model.generator.conditioning=one_hot", "model.discriminator.conditioning=one_hot")],
        "model.pack=2 needs a discriminator without labels",
    ),
    "classes": (("model.pack=2", "loss=semi_supervised"), "model.pack=2 needs a loss without classes"),
    "a probe of features": (("model.pack=2", "metric=[linear_probe]"), "use model.pack=1"),
}


@pytest.mark.parametrize(("settings", "sentence"), REFUSED.values(), ids=REFUSED)
def test_packs_that_mean_nothing_are_refused(settings: tuple[str, ...], sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        make_run(*SMALL, "device=cpu", *settings)
