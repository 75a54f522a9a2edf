"""The feature extractors of published metrics, through torch-fidelity: Inception, VGG, CLIP, DINOv2."""

import hashlib
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gan_runner.errors import ConfigError
from gan_runner.metric.pools import Features


class Source(NamedTuple):
    """name: the network in torch-fidelity; layer, logits: names of its outputs; file: the weights that it downloads."""

    name: str
    layer: str
    logits: str | None
    file: str
    repository: str | None = None  # on torch.hub, for a network whose code is downloaded as well


SOURCES = {
    "inception": Source("inception-v3-compat", "2048", "logits_unbiased", "weights-inception-2015-12-05-6726825d.pth"),
    "vgg16": Source("vgg16", "fc2_relu", None, "vgg16-397923af.pth"),
    "clip": Source("clip-vit-b-32", "clip", None, "clip-vit-b-32.pt"),
    "dinov2": Source("dinov2-vit-b-14", "dinov2", None, "dinov2_vitb14_pretrain.pth", "facebookresearch/dinov2"),
}
TABLES = ("inception", "vgg16")  # files of tensors alone, which are safe from an untrusted configuration
AT_ONCE = 64  # images that the network gets together: Inception needs 40 MB of memory for each
FAILURES = (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError, pickle.UnpicklingError)


class Fidelity:
    """One of torch-fidelity's feature extractors, on 8-bit images; gray ones as three equal channels."""

    accuracy: float | None = None
    cheap = False

    def __init__(self, kind: str, weights: str | None, device: torch.device):
        """weights: a file; None: the file that torch-fidelity has downloaded or downloads now."""
        self.source, self.device = SOURCES[kind], device
        self.network = load(kind, self.source, weights).to(device)
        self.name = f"{self.source.name} {self.source.layer}"
        self.digest = digest_of(self.network)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Features:
        colour = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        found = [self.network(part.to(self.device)) for part in colour.split(AT_ONCE)]
        vectors, *logits = (torch.cat(parts).float().cpu() for parts in zip(*found, strict=True))
        return Features(vectors, logits[0] if logits else None)


def load(kind: str, source: Source, weights: str | None) -> Any:
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY as NETWORKS

    if weights is not None and kind not in TABLES:
        raise ConfigError(
            f"metric weights={weights} cannot be used: a file of weights of {source.name} contains code, which runs "
            f"only from torch-fidelity's own download; use weights=null."
        )
    layers = [source.layer] + ([source.logits] if source.logits else [])
    try:
        if weights is not None:
            torch.load(Path(weights).expanduser(), map_location="cpu", weights_only=True)  # runs no code of the file
        path = None if weights is None else str(Path(weights).expanduser())
        return NETWORKS[source.name](source.name, layers, feature_extractor_weights_path=path, verbose=False).eval()
    except FAILURES as error:
        reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        if weights is not None:
            raise ConfigError(
                f"metric weights={weights} are not those of {source.name} ({reason}); name the file {source.file} as "
                f"torch-fidelity downloads it, or use null for its own download."
            ) from error
        hub, others = torch.hub.get_dir(), ""
        if kind in TABLES:
            others = ", or name it with the metric's weights="
        if source.repository is not None:
            others = (
                f", and https://github.com/{source.repository} into {hub}/{source.repository.replace('/', '_')}_main"
            )
        raise ConfigError(
            f"metric features={kind}: the weights of {source.name} are not on this machine and were not downloaded "
            f"({reason}); put {source.file} into {hub}/checkpoints{others}; or use a classifier_ or pixel_ metric, "
            f"which need no download."
        ) from error


def digest_of(network: torch.nn.Module) -> str:
    """Returns a hash of weights and buffers, independent of their device."""
    found = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        found.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return found.hexdigest()[:16]
