"""Trained runs in Python: samples and metrics of a checkpoint, as the commands make them."""

import html
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_runner import evaluate as evaluation
from gan_runner import sample as sampling
from gan_runner.assembly.trained import check_count
from gan_runner.cli.plain import refuse_torchrun
from gan_runner.cli.requested_metrics import RequestedMetrics
from gan_runner.errors import ConfigError
from gan_runner.evaluation.sampler import Sampler
from gan_runner.export import exporting
from gan_runner.export.exporting import KINDS, Exported
from gan_runner.interface.images import Images, format_of
from gan_runner.interface.isolation import settings_kept
from gan_runner.interface.latents import LatentSpace
from gan_runner.records.identity import show
from gan_runner.records.scores import REPORT
from gan_runner.sampling import source
from gan_runner.sampling.source import requested_classes
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
    """The generator of a run at one checkpoint, or of an exported file."""

    def __init__(
        self, path: Path, checkpoint: str, trust: Sequence[str], device: str, precision: str, average: str | None
    ):
        self.path, self.checkpoint, self.trust, self.average = path, checkpoint, tuple(trust), average
        self.trained = sampling.load(path, self.trust, checkpoint, device=device, precision=precision, average=average)
        self.step = self.trained.step

    @property
    def sampler(self) -> Sampler:
        return self.trained.sampler

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
        check_count("--count", count, self.spec, self.sampler.latent)
        classes = requested_classes(self.sampler, as_text(labels))
        found = (source.by_class if by_class else source.in_turn)(classes, count)
        with settings_kept():
            sampling.prepare(self.trained)
            return Images(source.generate(self.sampler, seed, count, found), found, self.spec)

    def save(
        self,
        out: str | os.PathLike[str],
        count: int = 64,
        seed: int = 0,
        labels: Sequence[int | str] | None = None,
        shard: int | None = None,
    ) -> Path:
        """Writes the images of `python -m gan_runner.sample` without holding them in memory; returns the path.

        out: an .npz or .zip file, a .png file with a grid, or a folder with one .png for each image; with shard, a
        folder of .npz files with so many images each. The same call goes on after an interruption.
        """
        path = Path(out)
        form = "npz" if shard is not None else format_of(path)
        with settings_kept():
            sampling.prepare(self.trained)
            sampling.save(self.trained, path, sampling.Request(form, count, seed, as_text(labels), shard))
        return path

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
        names = None if metrics is None else as_list("metrics", metrics)
        requested = RequestedMetrics(names, split, n_fake, n_real, settings)
        checkpoint = "best" if self.checkpoint == "best" else str(self.step)
        with settings_kept():
            ((step, found, left_out),) = evaluation.evaluations(self.path, self.trust, checkpoint, requested)
        if left_out:
            log.warning("summary.json keeps values by another protocol of %s", ", ".join(left_out))
        return Evaluated(found.values, found.protocols, found.split, step)

    def export(
        self,
        formats: Sequence[str] = KINDS,
        discriminator: bool = False,
        out: str | os.PathLike[str] | None = None,
        licence: str | None = None,
    ) -> list[Exported]:
        """Writes the files of `python -m gan_runner.export`, with the model card; returns the files.

        Each has its path, its largest difference from this model over 64 images, and, for pt2 and onnx, its signature
        and an example. gr.ConfigError if a file gives other images, or the network cannot be exported.
        """
        names = tuple(as_list("formats", formats))
        with settings_kept():
            return exporting.export(self.request(out, licence, names, discriminator))[1]

    def card(self, out: str | os.PathLike[str] | None = None, licence: str | None = None) -> Path:
        """Writes the model card of `python -m gan_runner.export --card`; returns its path."""
        with settings_kept():
            return exporting.write_only_card(self.request(out, licence))

    def request(
        self,
        out: str | os.PathLike[str] | None,
        licence: str | None,
        formats: Sequence[str] = KINDS,
        discriminator: bool = False,
    ) -> exporting.Request:
        checkpoint = "best" if self.checkpoint == "best" else str(self.step)
        folder = None if out is None else Path(out)
        return exporting.Request(
            self.path, formats, discriminator, checkpoint, folder, licence, self.trust, self.average
        )

    def __repr__(self) -> str:
        made = "x".join(map(str, self.spec.shape))
        return f"Model({str(self.path)!r}): step {self.step}, makes {made}"


def as_list(name: str, value: Sequence[str]) -> Sequence[str]:
    """Returns the value. ConfigError for a text, whose letters would be taken for names."""
    if isinstance(value, str):
        raise ConfigError(f"{name}={value!r} should be a list: {name}=[{value!r}].")
    return value


def as_text(labels: Sequence[int | str] | None) -> list[str] | None:
    return None if labels is None else [str(label) for label in labels]


def load(
    path: str | os.PathLike[str],
    checkpoint: str | int = "last",
    trust: Sequence[str] = (),
    device: str = "cpu",
    precision: str = "fp32",
    average: float | str | None = None,
) -> Model:
    """Returns the generator of a run folder, or of a .safetensors file of `python -m gan_runner.export`.

    Nothing that these name is executed, apart from torch's networks. checkpoint: last, best or a step. trust: classes
    of your own, as module.Class, that may be built. device, precision: as the options of `python -m gan_runner.sample`.
    average: the half-life in images of one of several averages; None: the selected one of best, else the first.
    """
    refuse_torchrun()
    if isinstance(trust, str):
        raise ConfigError(f"trust={trust} should be a list of classes: trust=[{trust!r}].")
    with settings_kept():
        half_life = None if average is None else show(average)
        return Model(Path(path), str(checkpoint), trust, device, precision, half_life)
