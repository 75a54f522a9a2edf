"""The networks of a run as plain functions of their inputs, with fixed norms, which need none of this package."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from gan_runner.assembly.trained import make_discriminator, make_sampler
from gan_runner.assembly.trial import UNFIT, first_line
from gan_runner.errors import ConfigError, NotExported
from gan_runner.nn.coupling import batch_coupled
from gan_runner.nn.statistics import find_singular_vectors
from gan_runner.noise import Noise
from gan_runner.records.weights import Weights
from gan_runner.spec import ImageSpec, full_precision

CHECKED = 64  # images with which every file is checked
TOLERANCE = 1e-4  # of the largest difference, relative to values above 1


@dataclass(frozen=True)
class Function:
    """A network with fixed norms, and what the original network returns for CHECKED inputs."""

    player: str
    module: nn.Module  # of the inputs, in order
    inputs: dict[str, Tensor]  # z (B, Z) or images (B, C, H, W), and labels (B,) if the network needs them
    outputs: dict[str, Tensor]  # images; or score (B,) and, of a classifier, logits (B, K)
    original: nn.Module  # with its norms, as the run has it

    def difference(self, found: list[Tensor]) -> float:
        """Returns the largest difference of an output, relative to the largest value of the output where above 1."""
        pairs = zip(self.outputs.values(), found, strict=True)
        return max(float((one - other).abs().max() / one.abs().max().clamp(min=1)) for one, other in pairs)


class Labelled(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, ...]:
        found: Tensor | tuple[Tensor, ...] = self.network(inputs, labels)
        return found


class Unlabelled(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        found: Tensor | tuple[Tensor, ...] = self.network(inputs, None)
        return found


class Classifier(nn.Module):
    """images and labels -> score (B,), logits (B, K)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        heads: Callable[..., tuple[Tensor, Tensor, Tensor]] = self.network.heads  # type: ignore[assignment]
        score, _, logits = heads(images, labels)
        return score, logits


@torch.no_grad()
def of_generator(weights: Weights) -> Function:
    """Returns the generator as `python -m gan_runner.sample` uses it."""
    sampler = make_sampler(weights)
    sampler.estimate_statistics()
    z = sampler.latent.sample(Noise(("export",), CHECKED, sampler.device))
    inputs = {"z": z} | ({"labels": labels_for(weights.spec)} if sampler.conditional else {})
    return function("generator", sampler.network, make_sampler(weights).network, inputs, ("images",))


@torch.no_grad()
def of_discriminator(weights: Weights, images: Tensor) -> Function:
    """Returns the discriminator with the batch-norm statistics of the training. ConfigError if it compares a batch."""
    network, other = make_discriminator(weights), make_discriminator(weights)
    find_singular_vectors(network)
    inputs = {"images": images}
    if needs_labels(network, images, weights.spec):
        inputs["labels"] = labels_for(weights.spec)
    check_single(network, inputs)
    if weights.spec.num_classes and classifies(network, images):
        return function("discriminator", Classifier(network), Classifier(other), inputs, ("score", "logits"))
    return function("discriminator", network, other, inputs, ("score",))


def function(
    player: str, network: nn.Module, other: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...]
) -> Function:
    """other: a second network of the same configuration, which gets plain weights."""
    call = Labelled if "labels" in inputs else Unlabelled
    original = call(network).eval()
    try:
        expected, again = (as_list(original(*inputs.values())) for _ in range(2))
    except UNFIT as error:
        needed = "" if "labels" in inputs else "; a class that needs labels should have conditional = True"
        raise ConfigError(f"model.{player} fails in evaluation ({first_line(error)}){needed}.") from error
    other.load_state_dict(network.state_dict())
    made = Function(
        player, call(fix_norms(other)).eval(), inputs, dict(zip(outputs, expected, strict=True)), original.network
    )
    if not made.difference(again) <= TOLERANCE:
        raise NotExported(
            f"model.{player} draws random numbers in evaluation mode, so that a file would give others "
            f"than the run; draw them in training mode alone."
        )
    return made


def fix_norms(network: nn.Module) -> nn.Module:
    """Replaces spectral and weight norms by plain weights, in place; returns the network.

    A copy of a network would share the classes in which torch keeps these norms, so that the original lost them too.
    """
    network.eval().requires_grad_(False)
    for layer in list(network.modules()):
        if is_parametrized(layer):
            for name in list(layer.parametrizations):  # type: ignore[arg-type]
                remove_parametrizations(layer, name, leave_parametrized=True)
    return network


def as_list(found: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    return [full_precision(each) for each in (found if isinstance(found, tuple | list) else (found,))]


def labels_for(spec: ImageSpec) -> Tensor:
    return torch.arange(CHECKED) % spec.num_classes


def classifies(network: nn.Module, images: Tensor) -> bool:
    """Whether the discriminator has class logits."""
    heads = getattr(network, "heads", None)
    return heads is not None and heads(images[:2], torch.zeros(2, dtype=torch.long)).logits is not None


def needs_labels(network: nn.Module, images: Tensor, spec: ImageSpec) -> bool:
    """Whether the discriminator fails without labels; that of an ACGAN takes them and does without."""
    try:
        network(images[:2], None)
    except UNFIT:
        return spec.num_classes > 0
    return False


def check_single(network: nn.Module, inputs: dict[str, Tensor]) -> None:
    """ConfigError if the scores of images depend on the other images of the batch."""
    one, many = ([each[:count] for each in (*inputs.values(), None)[:2] if each is not None] for count in (1, CHECKED))
    call = (Labelled if "labels" in inputs else Unlabelled)(network)
    (alone, *_), (together, *_) = as_list(call(*one)), as_list(call(*many))
    if float((alone - together[:1]).abs().max()) <= TOLERANCE * max(1.0, float(together.abs().max())):
        return
    layers = [(path, layer) for path, layer in batch_coupled(network) if not isinstance(layer, _BatchNorm)]
    path, layer = layers[-1] if layers else ("", network)
    cure = getattr(layer, "cure", None)
    setting = f"model.discriminator.{cure}" if cure else "model.pack=1"
    raise ConfigError(
        f"--discriminator: {path or 'the discriminator'} ({type(layer).__name__}) compares the images of a batch, so "
        f"that no image has a score of its own; export the generator alone, or train with {setting}."
    )
