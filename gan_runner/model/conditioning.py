"""Conditioning on labels: layers and heads that all networks share, so that conditioning is one setting of each."""

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_runner.errors import choose, require
from gan_runner.spec import ImageSpec, full_precision

EMBEDDING = 64  # size of a label's embedding when appended to a vector
FOR_GENERATORS = dict.fromkeys(("none", "one_hot", "embedding", "norm"))
WITHOUT_NORM = dict.fromkeys(("none", "one_hot", "embedding"))  # generators without a batch norm
FOR_DISCRIMINATORS = dict.fromkeys(("none", "one_hot", "embedding", "projection", "classifier"))


def check(conditioning: str, kinds: dict[str, None], spec: ImageSpec) -> str:
    choose("conditioning", conditioning, kinds)
    require(
        conditioning == "none" or spec.num_classes > 0,
        f"conditioning={conditioning} needs labels and the dataset has none; use one that has them, or "
        f"conditioning=none and a loss that does without",
    )
    return conditioning


class JoinVector(nn.Module):
    """x (B, W) and labels (B,) -> (B, width): appends the label's one-hot (Mirza and Osindero 2014) or embedding."""

    def __init__(self, width: int, classes: int, conditioning: str):
        super().__init__()
        self.classes, self.one_hot = classes, conditioning == "one_hot"
        self.embedding = nn.Embedding(classes, EMBEDDING) if conditioning == "embedding" else None
        self.width = width + classes * self.one_hot + EMBEDDING * (self.embedding is not None)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        if self.one_hot and labels is not None:
            return torch.cat([x, functional.one_hot(labels, self.classes).to(x.dtype)], dim=1)
        if self.embedding is not None:
            return torch.cat([x, self.embedding(labels).to(x.dtype)], dim=1)
        return x


class JoinImages(nn.Module):
    """images (B, C, H, W), labels (B,) -> (B, channels, H, W): appends one-hot constant maps, or one learned map."""

    def __init__(self, spec: ImageSpec, conditioning: str):
        super().__init__()
        self.classes, self.one_hot = spec.num_classes, conditioning == "one_hot"
        pixels = spec.height * spec.width
        self.embedding = nn.Embedding(spec.num_classes, pixels) if conditioning == "embedding" else None
        self.channels = spec.channels + spec.num_classes * self.one_hot + (self.embedding is not None)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        if self.one_hot and labels is not None:
            maps = functional.one_hot(labels, self.classes).to(images.dtype)[:, :, None, None]
            return torch.cat([images, maps.expand(-1, -1, *images.shape[2:])], dim=1)
        if self.embedding is not None:
            learned = self.embedding(labels).to(images.dtype).view(-1, 1, *images.shape[2:])
            return torch.cat([images, learned], dim=1)
        return images


class ConditionalBatchNorm(nn.Module):
    """Batch norm over all classes, with a gain (initially 1) and a shift (0) per class (Dumoulin et al. 2017)."""

    takes_labels = True
    is_norm = True  # its embeddings are gains and shifts, not linear maps to normalise

    def __init__(self, width: int, classes: int, images: bool):
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False) if images else nn.BatchNorm1d(width, affine=False)
        self.gain, self.shift = nn.Embedding(classes, width), nn.Embedding(classes, width)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        shape = (x.shape[0], -1, *(1,) * (x.dim() - 2))
        y: Tensor = self.gain(labels).view(shape) * self.norm(x) + self.shift(labels).view(shape)
        return y


class Layers(nn.Sequential):
    """Applies layers in order; passes labels to layers with `takes_labels`."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        for layer in self:
            x = layer(x, labels) if getattr(layer, "takes_labels", False) else layer(x)
        return x


class Heads(NamedTuple):
    """Outputs of a discriminator: scores (B,), features (B, F) and, if it classifies, class logits (B, K)."""

    score: Tensor
    features: Tensor
    logits: Tensor | None


def glorot_normal(layer: nn.Module) -> nn.Module:
    nn.init.xavier_normal_(layer.weight)  # type: ignore[arg-type]
    if isinstance(layer, nn.Linear) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Head(nn.Module):
    """features (B, F) and labels (B,) -> Heads. The score is linear in the features.

    projection adds the product of the features with the label's embedding to the score (Miyato and Koyama 2018);
    classifier also gives class logits (ACGAN, Odena et al. 2017).
    """

    def __init__(self, width: int, classes: int, conditioning: str, bias: bool = True):
        super().__init__()
        self.score = nn.Linear(width, 1, bias=bias)
        self.projection = nn.Embedding(classes, width) if conditioning == "projection" else None
        self.classifier = nn.Linear(width, classes) if conditioning == "classifier" else None
        for layer in self.children():
            glorot_normal(layer)

    def forward(self, features: Tensor, labels: Tensor | None, images: Tensor) -> Heads:
        score = self.score(features).squeeze(1)
        if self.projection is not None:
            score = score + (self.projection(labels) * features).sum(1)
        return Heads(score, features, None if self.classifier is None else self.classifier(features))


class ScoreHead(nn.Module):
    """features (B, F) -> Heads, with a layer (B, F) -> (B, 1) for the score."""

    def __init__(self, layer: nn.Sequential):
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor, labels: Tensor | None, images: Tensor) -> Heads:
        return Heads(self.layer(features).squeeze(1), features, None)


class ClassHead(nn.Module):
    """features (B, F) -> Heads: the classifier is the discriminator (Salimans et al. 2016, section 5).

    layer: (B, F) -> (B, K) logits of the classes, with the logit of the class "fake" fixed at 0; or (B, K + 1) with
    the fake logit last, which is subtracted from the others (Odena 2016: the same softmax with one more logit). The
    score, log sum exp of the K logits, is the log odds that an image is real.
    """

    def __init__(self, layer: nn.Sequential, classes: int):
        super().__init__()
        self.layer, self.classes = layer, classes

    def forward(self, features: Tensor, labels: Tensor | None, images: Tensor) -> Heads:
        logits = full_precision(self.layer(features))
        logits = logits[:, : self.classes] - logits[:, self.classes :].sum(1, keepdim=True)
        return Heads(logits.logsumexp(1), features, logits)


ERRORS: dict[str, Callable[[Tensor], Tensor]] = {"absolute_error": torch.abs, "squared_error": torch.square}


class Autoencoder(nn.Module):
    """features (B, F), images (B, C, H, W) -> Heads: the score is minus the decoder's mean error over pixels."""

    def __init__(self, decoder: nn.Module, output: str, conditioning: str):
        super().__init__()
        fits = conditioning not in ("projection", "classifier")
        require(fits, f"conditioning={conditioning} needs output=score; an autoencoder takes one_hot or embedding")
        self.decoder, self.error = decoder, ERRORS[output]

    def forward(self, features: Tensor, labels: Tensor | None, images: Tensor) -> Heads:
        error = self.error(self.decoder(features).view_as(images) - images)
        return Heads(-error.flatten(1).mean(1), features, None)


CLASS_OUTPUTS = {"classes": 0, "classes_and_fake": 1}  # output -> logits beside those of the classes
OUTPUTS = dict.fromkeys(("score", *ERRORS, *CLASS_OUTPUTS))


def class_logits(spec: ImageSpec, output: str, conditioning: str) -> int:
    """Returns the number of logits of the last layer for output=classes or classes_and_fake."""
    extra = choose("output", output, CLASS_OUTPUTS)
    require(spec.num_classes > 0, f"output={output} needs labels and the dataset has none; use one that has")
    require(
        conditioning == "none",
        f"output={output} finds the label by itself; use conditioning=none, not {conditioning}",
    )
    return spec.num_classes + extra


def linear_head(width: int, spec: ImageSpec, conditioning: str, output: str, bias: bool = True) -> nn.Module:
    """Returns a linear head for output=score, classes or classes_and_fake."""
    if output == "score":
        return Head(width, spec.num_classes, conditioning, bias)
    layer = nn.Linear(width, class_logits(spec, output, conditioning), bias=bias)
    return ClassHead(nn.Sequential(glorot_normal(layer)), spec.num_classes)


class Discriminator(nn.Module):
    """images (B, C, H, W) and labels (B,) -> scores (B,), from features (B, F) and a head, both of the subclass."""

    head: nn.Module

    @abstractmethod
    def features(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Returns the input of the head, (B, F)."""

    def heads(self, images: Tensor, labels: Tensor | None = None) -> Heads:
        found: Heads = self.head(self.features(images, labels), labels, images)
        return found

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.heads(images, labels).score
