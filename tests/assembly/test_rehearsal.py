"""Runs that cannot be trained are refused before their folder is created; others are not changed, bit for bit."""

import time

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves

from gan_runner.assembly.build import build
from gan_runner.assembly.rehearsal import rehearse
from gan_runner.errors import ConfigError
from gan_runner.loss.adversarial import NonSaturating
from gan_runner.spec import ImageSpec
from gan_runner.training.run import Run
from tests.conftest import CPUS, SMALL, Command, configure, make_run, weights

HERE = "tests.assembly.test_rehearsal"

# ---- networks of a user's own


class Own(nn.Module):
    """A discriminator (B, 1, 8, 8) -> (B,)."""

    def __init__(self, spec: ImageSpec):
        super().__init__()
        self.layer = nn.Linear(spec.size, 1)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self.layer(images.flatten(1)).squeeze(1)


class Tuple(Own):
    def forward(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, None]:
        return super().forward(images, labels), None


class Frozen(Own):
    def __init__(self, spec: ImageSpec):
        super().__init__(spec)
        self.requires_grad_(False)


class Detached(Own):
    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return super().forward(images, labels).detach()


class InPlace(Own):
    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return super().forward(torch.relu_(images), labels)


class OfNumpy(Own):
    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return torch.from_numpy(super().forward(images, labels).detach().numpy())


class Lazy(nn.Module):
    def __init__(self, spec: ImageSpec):
        super().__init__()
        self.layers = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(1))

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self.layers(images).squeeze(1)


class OwnGenerator(nn.Module):
    def __init__(self, spec: ImageSpec, latent):
        super().__init__()
        self.shape = spec.shape
        self.layers = nn.Sequential(nn.Linear(latent.dim, 16), nn.ReLU(), nn.Linear(16, spec.size), nn.Tanh())

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return self.layers(z).view(-1, *self.shape)


class TupleGenerator(OwnGenerator):
    def forward(self, z: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().forward(z, labels), z


class DetachedGenerator(OwnGenerator):
    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return super().forward(z, labels).detach()


class InPlaceGenerator(OwnGenerator):
    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return super().forward(z.mul_(2), labels)


class FrozenGenerator(OwnGenerator):
    def __init__(self, spec: ImageSpec, latent):
        super().__init__(spec, latent)
        self.requires_grad_(False)


class LazyGenerator(OwnGenerator):
    def __init__(self, spec: ImageSpec, latent):
        super().__init__(spec, latent)
        self.layers[0] = nn.LazyLinear(16)


class OldNormGenerator(OwnGenerator):
    def __init__(self, spec: ImageSpec, latent):
        super().__init__(spec, latent)
        nn.utils.weight_norm(self.layers[0])
        nn.utils.spectral_norm(self.layers[2])


# ---- losses of a user's own


class Vector(NonSaturating):
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return nn.functional.softplus(fake) + nn.functional.softplus(-real)


class GeneratorVector(NonSaturating):
    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return nn.functional.softplus(-fake)


class Float(NonSaturating):
    def discriminator(self, real: Tensor, fake: Tensor) -> float:
        return super().discriminator(real, fake).item()


class Pair(NonSaturating):
    def generator(self, fake: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().generator(fake, real), fake


class Nothing(NonSaturating):
    def discriminator(self, real: Tensor, fake: Tensor) -> None:
        super().discriminator(real, fake)


class FixedBatch(NonSaturating):
    """A network that only accepts batches of 64."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return super().discriminator(real.view(64), fake.view(64))


def run_of(player: str, name: str) -> Run:
    """A run with a user-defined network."""
    config = configure(*SMALL)
    config["model"][player] = {"_target_": f"{HERE}.{name}"}
    return build(config)


def loss(name: str) -> tuple[str, ...]:
    return (f"loss.adversarial._target_={HERE}.{name}",)


NETWORKS = {
    "Tuple": ("discriminator", "model.discriminator returns tuple"),
    "Frozen": ("discriminator", "every weight of Frozen is frozen"),
    "Detached": ("discriminator", "the update of the discriminator fails .* model.discriminator=Detached"),
    "OfNumpy": ("discriminator", "the update of the discriminator fails .* model.discriminator=OfNumpy"),
    "InPlace": ("discriminator", "model.discriminator=InPlace changes its input in place"),
    "TupleGenerator": ("generator", "model.generator returns tuple"),
    "DetachedGenerator": ("generator", "the update of the generator fails .* model.generator=DetachedGenerator"),
    "InPlaceGenerator": ("generator", "model.generator=InPlaceGenerator changes its input in place"),
    "FrozenGenerator": ("generator", "every weight of FrozenGenerator is frozen"),
}
LOSSES = {
    "Vector": r"Vector: discriminator\(\) returns a tensor of shape \(2,\)",
    "GeneratorVector": r"generator\(\) returns a tensor of shape \(2,\)",
    "Float": r"Float: discriminator\(\) returns float",
    "Pair": r"Pair: generator\(\) returns tuple",
    "Nothing": r"Nothing: discriminator\(\) returns NoneType",
    "FixedBatch": r"FixedBatch: discriminator\(\) fails for 2 scores",
}


@pytest.mark.parametrize(("name", "player", "sentence"), [(name, *row) for name, row in NETWORKS.items()])
def test_a_network_that_cannot_be_trained_is_refused(name: str, player: str, sentence: str):
    with pytest.raises(ConfigError, match=sentence) as caught:
        rehearse(run_of(player, name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_cannot_be_descended_is_refused(name: str):
    with pytest.raises(ConfigError, match=LOSSES[name]) as caught:
        rehearse(make_run(*SMALL, *loss(name)))
    assert "\n" not in str(caught.value)


def test_nothing_is_made_for_a_run_that_is_refused(command: Command, in_tmp):
    answer = command(*SMALL, *loss("Vector"))
    assert answer.code == 2
    assert "returns a tensor of shape" in answer.err
    assert not (in_tmp / "outputs").exists()


def test_a_loss_that_wants_the_batch_of_the_training_has_it():
    rehearse(make_run(*SMALL, *loss("FixedBatch"), "train.batch_size=64"))


@pytest.mark.parametrize(
    ("player", "name"), [("discriminator", "Lazy"), ("generator", "LazyGenerator"), ("generator", "OldNormGenerator")]
)
def test_lazy_layers_and_older_norms_train(player: str, name: str):
    run = run_of(player, name)
    rehearse(run)
    before = weights(run)
    for _ in range(2):
        run.step()
    assert any(not torch.equal(value, before[name]) for name, value in weights(run).items())


SAME = {
    "gan": ("loss=gan",),
    "wgan_gp": ("loss=wgan_gp",),
    "wgan": ("loss=wgan", "loss.n_critic_burst=3"),
    "began, whose loss has a state": ("loss=began",),
    "dropout and spectral norm": ("loss=sngan", "model.discriminator.dropout=0.5", "model.generator.dropout=0.5"),
    "semi-supervised": ("loss=semi_supervised", "dataset.labels_per_class=2"),
    "ada": ("augment=ada", "loss=r1"),
    "fp16": CPUS["fp16"],
    "simultaneous": ("loss.simultaneous=true",),
    "accumulated": ("loss=wgan_gp", "train.accumulate=2"),
}


@pytest.mark.parametrize("overrides", SAME.values(), ids=SAME)
def test_a_rehearsed_run_is_the_same_to_the_bit(overrides: tuple[str, ...]):
    config = configure(*SMALL, *overrides)
    plain, rehearsed = build(config), build(config)
    random = torch.random.get_rng_state()
    rehearse(rehearsed)
    assert torch.equal(torch.random.get_rng_state(), random)
    for _ in range(2):
        one, other = plain.step(), rehearsed.step()
        assert_close(one, other, rtol=0, atol=0)
    assert_close(weights(plain), weights(rehearsed), rtol=0, atol=0)
    for name in ("optimizer", "scaler"):
        mine, others = plain.discriminator.state_dict()[name], rehearsed.discriminator.state_dict()[name]
        assert_close(tree_leaves(mine), tree_leaves(others), rtol=0, atol=0)
    assert plain.clock.state_dict() == rehearsed.clock.state_dict()


def test_it_costs_little():
    run = make_run("device=cpu", "model=dcgan", "dataset=synthetic", "dataset.count=100")
    rehearse(run)  # what is slower the first time
    began = time.process_time()
    rehearse(run)
    assert time.process_time() - began < 1
