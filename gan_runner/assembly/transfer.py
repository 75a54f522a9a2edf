"""Weights of one network for another one: what fits is taken, and classes and image channels are matched.

A linear map M, (new size, old size), says how one dimension of a tensor follows from that of the source. A row of zeros
is new: it keeps the values of the initialisation.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from gan_runner.model.conditioning import ClassHead, Head
from gan_runner.spec import ImageSpec

PARAMETRIZED = re.compile(r"\.parametrizations\.\w+\..*")
SINGULAR_VECTORS = ("._u", "._v")  # of a spectral norm, computed anew from the weights
KINDS = ("taken", "matched", "new")  # of a layer, the later one decides

SPECTRAL = "parametrizations.weight.original"  # the weight below a spectral norm

Weighted = nn.Linear | _ConvNd
Layers = Sequence[tuple[str, Weighted]]


class Outcome(NamedTuple):
    """What became of a layer. kind: taken, matched (by class or channel), new, or left (only in the source)."""

    layer: str
    kind: str
    text: str = ""


class Mapped(NamedTuple):
    """How one dimension of a tensor follows from the source."""

    dim: int
    matrix: Tensor  # (new size, old size)
    text: str


def transfer(
    player: str, network: nn.Module, source: Mapping[str, Tensor], spec: ImageSpec, other: ImageSpec
) -> tuple[dict[str, Tensor], list[Outcome]]:
    """Returns the new state of the network, and an outcome for each layer.

    player: generator or discriminator. spec: of the network's data; other: of the source's.
    """
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    mapped = dict(mappings(player, network, source, spec, other))
    outcomes: dict[str, Outcome] = {}
    for name, tensor in state.items():
        if name.endswith(SINGULAR_VECTORS):
            continue
        kind, text, value = fitted(tensor, source.get(name), mapped.get(name))
        state[name] = value
        layer = layer_of(name)
        if layer not in outcomes or KINDS.index(kind) > KINDS.index(outcomes[layer].kind):
            outcomes[layer] = Outcome(layer, kind, text)
    left = dict.fromkeys(map(layer_of, source)).keys() - outcomes.keys()
    return state, [*outcomes.values(), *(Outcome(layer, "left", "only in the source") for layer in sorted(left))]


def fitted(tensor: Tensor, source: Tensor | None, mapped: Mapped | None) -> tuple[str, str, Tensor]:
    """Returns the kind of outcome, its text, and the tensor's new value."""
    if source is None:
        return "new", "not in the source", tensor
    sizes = list(tensor.shape)
    if mapped is not None and source.dim() == tensor.dim():
        sizes[mapped.dim] = mapped.matrix.shape[1]
    if list(source.shape) != sizes:
        return "new", f"{shape(source)} in the source, {shape(tensor)} here", tensor
    source = source.to(tensor)
    if mapped is None or is_identity(mapped.matrix):
        return "taken", "", source
    rows = torch.tensordot(mapped.matrix.to(source), source, dims=([1], [mapped.dim])).movedim(0, mapped.dim)
    known = mapped.matrix.any(dim=1).to(tensor.device)
    if not known.any():
        return "new", mapped.text, tensor
    along = [1] * tensor.dim()
    along[mapped.dim] = -1
    return "matched", mapped.text, torch.where(known.view(along), rows, tensor)


def is_identity(matrix: Tensor) -> bool:
    return matrix.shape[0] == matrix.shape[1] and bool((matrix == torch.eye(len(matrix))).all())


def layer_of(name: str) -> str:
    """Returns the path of the module that holds a tensor."""
    return PARAMETRIZED.sub("", name) if ".parametrizations." in name else name.rpartition(".")[0]


def shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "1"


# ---- which dimensions are classes or channels


def mappings(
    player: str, network: nn.Module, source: Mapping[str, Tensor], spec: ImageSpec, other: ImageSpec
) -> Iterator[tuple[str, Mapped]]:
    """Yields the names of tensors with a dimension of classes or image channels, with its map."""
    classes, text = class_matrix(spec, other)
    for path, module in network.named_modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings == spec.num_classes:
            yield f"{path}.weight", Mapped(0, classes, text)
            yield f"{path}.{SPECTRAL}", Mapped(0, classes, text)
        if isinstance(module, Head) and module.classifier is not None:
            yield from outputs(below(path, "classifier"), module.classifier, classes, text)
        if isinstance(module, ClassHead):
            name, last = list(module.layer.named_children())[-1]
            assert isinstance(last, nn.Linear)  # class_logits makes it
            logits = torch.block_diag(classes, torch.eye(last.out_features - module.classes))
            yield from outputs(below(path, f"layer.{name}"), last, logits, text)
    layers = [(path, layer) for path, layer in network.named_modules() if isinstance(layer, Weighted)]
    if player == "discriminator":
        yield from of_images(layers, source, spec, other, classes)
    else:
        yield from of_latents(layers, source, spec, classes)
        yield from to_images(layers, spec, other)


def of_images(
    layers: Layers, source: Mapping[str, Tensor], spec: ImageSpec, other: ImageSpec, classes: Tensor
) -> Iterator[tuple[str, Mapped]]:
    """The layers that read images: the first, and others of the same number of inputs where that differs."""
    for number, (path, layer) in enumerate(layers):
        matrix = channel_matrix(layer, spec, other, sums=True)
        for name in (f"{path}.weight", f"{path}.{SPECTRAL}"):
            if matrix is not None and name in source:
                here, there = layer_inputs(layer), source[name].shape[input_dim(layer)]
                more = extra_matrix(here - len(matrix), there - matrix.shape[1], classes)
                if more is not None and (number == 0 or here != there):
                    text = f"{there} inputs in the source, {here} here"
                    yield name, Mapped(input_dim(layer), torch.block_diag(matrix, more), text)


def of_latents(
    layers: Layers, source: Mapping[str, Tensor], spec: ImageSpec, classes: Tensor
) -> Iterator[tuple[str, Mapped]]:
    """The first layer of a generator, whose last inputs may be the label's one-hot."""
    for path, layer in layers[:1]:
        for name in (f"{path}.weight", f"{path}.{SPECTRAL}"):
            if name in source:
                here, there = layer_inputs(layer), source[name].shape[input_dim(layer)]
                for latent in {here, max(1, here - spec.num_classes)}:
                    more = extra_matrix(here - latent, there - latent, classes)
                    if more is not None and len(classes):
                        text = f"{there} inputs in the source, {here} here"
                        yield name, Mapped(input_dim(layer), torch.block_diag(torch.eye(latent), more), text)


def to_images(layers: Layers, spec: ImageSpec, other: ImageSpec) -> Iterator[tuple[str, Mapped]]:
    """The last layer of a generator."""
    for path, layer in layers[-1:]:
        matrix = channel_matrix(layer, spec, other, sums=False)
        if matrix is not None:
            text = f"{other.channels} channels in the source, {spec.channels} here"
            yield from outputs(path, layer, matrix, text)


def outputs(path: str, layer: Weighted, matrix: Tensor, text: str) -> Iterator[tuple[str, Mapped]]:
    dim = 1 if isinstance(layer, _ConvTransposeNd) else 0
    yield f"{path}.weight", Mapped(dim, matrix, text)
    yield f"{path}.{SPECTRAL}", Mapped(dim, matrix, text)
    yield f"{path}.bias", Mapped(0, matrix, text)


def layer_inputs(layer: Weighted) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def input_dim(layer: Weighted) -> int:
    return 0 if isinstance(layer, _ConvTransposeNd) else 1


def class_matrix(spec: ImageSpec, other: ImageSpec) -> tuple[Tensor, str]:
    """Returns the map (classes here, classes of the source) by name, or by number where classes have no names."""
    here, there = (each.names(torch.arange(each.num_classes)) for each in (spec, other))
    matrix = torch.tensor([[float(name == old) for old in there] for name in here]).view(len(here), len(there))
    return matrix, f"{len(set(here) & set(there))} of {len(here)} classes are in the source"


def channel_matrix(layer: Weighted, spec: ImageSpec, other: ImageSpec, sums: bool) -> Tensor | None:
    """Returns the map (channels here, channels of the source) of a convolution, or that of all pixels of a linear map.

    None if it is not defined. Gray and several channels: each channel is a copy; `sums`: of weights that are summed
    over channels, the copies are divided by their number, so that the response to a gray image stays.
    """
    here, there = spec.channels, other.channels
    if here != there and 1 not in (here, there):
        return None
    matrix = torch.eye(here) if here == there else torch.ones(here, there) / (here if sums else there)
    if isinstance(layer, nn.Linear):
        if spec.shape[1:] != other.shape[1:]:
            return None
        matrix = torch.kron(matrix, torch.eye(spec.height * spec.width))
    return matrix


def extra_matrix(here: int, there: int, classes: Tensor) -> Tensor | None:
    """Returns the map of the inputs behind the image or the latent: one-hot classes, one learned map, or none."""
    if here in (0, len(classes)) and there in (0, classes.shape[1]):
        return classes if here and there else torch.zeros(here, there)
    return torch.eye(1) if here == there == 1 else None


def below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
