"""Trained runs in Python: samples and metrics of a checkpoint, as the commands make them."""

import html
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_runner import evaluate as evaluation
from gan_runner import sample as sampling
from gan_runner.cli.entry import refuse_torchrun
from gan_runner.cli.requested_metrics import RequestedMetrics
from gan_runner.errors import ConfigError
from gan_runner.evaluation.sampler import Sampler
from gan_runner.interface.images import Images
from gan_runner.interface.isolation import settings_kept
from gan_runner.interface.latents import LatentSpace
from gan_runner.records.scores import REPORT
from gan_runner.spec import ImageSpec

log = logging.getLogger(__name__)


class Evaluated(Mapping[str, float]):
    """Values of metrics by name; `protocols` has the protocol of each, `split` and `step` are those of all."""

    def __init__(self, values: Mapping[str, float], protocols: Mapping[str, Any], split: str, step: int):
        self.content, self.protocols, self.split, self.step = dict(values), dict(protocols), split, step

    def __getitem__(self, name: str) -> float:
        return self.content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {value:.6g}" for name, value in self.content.items())
        return f"{values} ({self.split} split, step {self.step})"

    def _repr_html_(self) -> str:
        cells = [f"<tr><td>{html.escape(name)}</td><td>{value:.6g}</td></tr>" for name, value in self.content.items()]
        return f"<table>{''.join(cells)}</table><p>{self.split} split, step {self.step}</p>"


class Model(LatentSpace):
    """The generator of a run at one checkpoint, on the CPU."""

    def __init__(self, path: Path, checkpoint: str, trust: Sequence[str]):
        self.path, self.checkpoint, self.trust = path, checkpoint, tuple(trust)
        self.step: int
        self.sampler: Sampler
        self.step, self.sampler = sampling.load(path, self.trust, checkpoint)

    @property
    def spec(self) -> ImageSpec:
        """Shape, range and classes of the images."""
        return self.sampler.spec

    def sample(
        self, count: int = 64, seed: int = 0, labels: Sequence[int | str] | None = None, by_class: bool = False
    ) -> Images:
        """Returns the images of `python -m gan_runner.sample`, bit for bit: those of --format npz.

        labels: classes of a conditional run, by number or name, in turn. by_class: the images of --format grid instead,
        with equally many of each class in succession.
        """
        if count < 1:
            raise ConfigError(f"--count={count} must be at least 1.")
        sampling.check_count("--count", count, self.spec, self.sampler.latent)
        chosen = None if labels is None else [str(label) for label in labels]
        found = sampling.requested_labels(self.sampler, count, chosen, by_class)
        return Images(sampling.generate(self.sampler, seed, count, found), found, self.spec)

    def evaluate(
        self,
        metrics: Sequence[str] | None = None,
        split: str = REPORT,
        n_fake: int | None = None,
        n_real: int | None = None,
        settings: Sequence[str] = (),
    ) -> Evaluated:
        """Computes metrics as `python -m gan_runner.evaluate` does, and adds them to the run folder.

        metrics: choices of the group metric; None: those of the run. settings: as metric.fid.weights=FILE.
        """
        requested = RequestedMetrics(metrics, split, n_fake, n_real, settings)
        checkpoint = "best" if self.checkpoint == "best" else str(self.step)
        with settings_kept():
            ((step, found, left_out),) = evaluation.evaluations(self.path, self.trust, checkpoint, requested)
        if left_out:
            log.warning("summary.json keeps values by another protocol of %s", ", ".join(left_out))
        return Evaluated(found.values, found.protocols, found.split, step)

    def __repr__(self) -> str:
        made = "x".join(map(str, self.spec.shape))
        return f"Model({str(self.path)!r}): step {self.step}, makes {made}"


def load(path: str | os.PathLike[str], checkpoint: str | int = "last", trust: Sequence[str] = ()) -> Model:
    """Returns the generator of a run folder. Nothing that the folder names is executed, apart from torch's networks.

    checkpoint: last, best or a step. trust: classes of your own, as module.Class, that may be built.
    """
    refuse_torchrun()
    if isinstance(trust, str):
        raise ConfigError(f"trust={trust} should be a list of classes: trust=[{trust!r}].")
    with settings_kept():
        return Model(Path(path), str(checkpoint), trust)
