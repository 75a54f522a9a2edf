"""Features of images for a projection: of the run's own discriminator, or of a classifier of the dataset."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan_runner.assembly.networks import make_network
from gan_runner.device import Device
from gan_runner.errors import ConfigError, choose
from gan_runner.latent.generator import Generator
from gan_runner.latent.neighbours import evaluator_of
from gan_runner.metric.classifier import Classifier
from gan_runner.metric.of_features import unfit
from gan_runner.nn.statistics import find_singular_vectors
from gan_runner.spec import ImageSpec

Layer = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
Features = Callable[[Tensor, Tensor | None], list[Tensor]]  # images (B, C, H, W), labels -> one (B, F) for each layer


def features_of(generator: Generator, kind: str) -> Features:
    """Returns differentiable features. kind: discriminator, classifier or none."""
    made = choose("--features", kind, {"discriminator": discriminator, "classifier": classifier, "none": none})
    return made(generator)


def none(generator: Generator) -> Features:
    return lambda images, labels: []


def discriminator(generator: Generator) -> Features:
    """The inputs of all layers but the first of the discriminator, in evaluation mode."""
    sampler = generator.sampler
    network = make_network(generator.config, "discriminator", sampler.spec, sampler.latent, Device("cpu"))
    network.load_state_dict(generator.discriminator)
    find_singular_vectors(network)
    network.eval().requires_grad_(False)
    features = layers_of(network, network)
    if not are_of_single_images(features, generator):
        raise ConfigError(
            f"--features=discriminator: {type(network).__name__} of this run compares images of a batch, so that an "
            f"image has no features of its own; use --features none or classifier."
        )
    return features


@torch.no_grad()
def are_of_single_images(features: Features, generator: Generator) -> bool:
    """Whether the features of an image are the same beside another image."""
    labels = generator.labels(2)
    images = generator.sampler.images(generator.latents(0, 2), labels)
    alone, beside = features(images[:1], None if labels is None else labels[:1]), features(images, labels)
    return all(torch.allclose(one[0], two[0], 1e-3, 1e-4) for one, two in zip(alone, beside, strict=True))


def classifier(generator: Generator) -> Features:
    """The inputs of all layers but the first of the classifier that metrics use."""
    evaluator = evaluator_of(generator.config)
    reason = unfit("classifier", evaluator.subject)
    if reason:
        raise ConfigError(f"--features=classifier {reason}; or --features none.")
    found = evaluator.extractor("classifier")
    assert isinstance(found, Classifier)
    spec = generator.sampler.spec
    network = found.network.requires_grad_(False)
    return layers_of(network, lambda images, labels: network(levels(images, spec)))


def levels(images: Tensor, spec: ImageSpec) -> Tensor:
    """Images in spec.value_range -> from 0 to 255, without rounding."""
    assert spec.value_range is not None
    low, high = spec.value_range
    return (images - low) * (255 / (high - low))


def layers_of(network: nn.Module, forward: Callable[[Tensor, Tensor | None], object]) -> Features:
    """Returns the inputs of the linear layers and convolutions of a network, in the order of its forward."""
    layers = [layer for layer in network.modules() if isinstance(layer, Layer)]

    def features(images: Tensor, labels: Tensor | None) -> list[Tensor]:
        seen: list[Tensor] = []
        hooks = [layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for layer in layers]
        try:
            forward(images, labels)
        finally:
            for hook in hooks:
                hook.remove()
        return [each.flatten(1) for each in seen[1:]]

    return features


def distances(found: list[Tensor], target: list[Tensor]) -> Tensor:
    """Returns (B,): the mean over layers of the squared distance to the target's features, over their squared norm."""
    one = [
        (own - other).square().sum(1) / other.square().sum(1).clamp(min=torch.finfo(own.dtype).eps)
        for own, other in zip(found, target, strict=True)
    ]
    return torch.stack(one).mean(0)
