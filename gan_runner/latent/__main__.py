"""The latent space of a run's generator: python -m gan_runner.latent outputs/NAME interpolate."""

import argparse
import logging
import sys
from pathlib import Path

from torch import Tensor

from gan_runner.cli.plain import enter_plain
from gan_runner.film.writers import check_format
from gan_runner.latent.directions import directions
from gan_runner.latent.generator import Generator, load, read_latents
from gan_runner.latent.interpolate import classes, interpolate
from gan_runner.latent.neighbours import neighbours
from gan_runner.latent.options import STILLS, VERBS, options_of
from gan_runner.latent.plane import plane_map
from gan_runner.latent.project import project
from gan_runner.latent.truncate import DEFAULTS, costs, metrics_of, truncate
from gan_runner.records.console import Terminal, logging_to, show_error, table

__all__ = ["VERBS", "options_of"]


def main() -> None:
    with logging_to(logging.StreamHandler()):  # long operations and warnings, on stderr
        enter_plain(lambda: write(options_of(sys.argv[1:])), "interrupted; no file was written.")


def write(options: argparse.Namespace) -> None:
    """Writes the film or strip of a verb, and prints its table and its path."""
    if options.out is not None:
        check_format(options.out, 1)
    generator = load(options.run, options.checkpoint, options.trust, options.average)
    average = f"average-{options.average}-" if options.average else ""
    name = f"{options.verb}-{average}step-{generator.step:08d}{'.png' if options.verb in STILLS else '.webp'}"
    Terminal().show(str(WRITERS[options.verb](generator, options, options.out or options.run / "samples" / name)))


def labels_of(options: argparse.Namespace) -> list[str] | None:
    return None if options.labels is None else options.labels.split(",")


def latents_of(generator: Generator, options: argparse.Namespace) -> Tensor | None:
    return None if options.latents is None else read_latents(options.latents, generator.prior)


def write_interpolate(generator: Generator, options: argparse.Namespace, out: Path) -> Path:
    labels, latents = labels_of(options), latents_of(generator, options)
    path = (options.seeds, options.frames, options.paths, not options.open)
    return interpolate(generator, *path, labels, options.cross, options.fps, latents).save(out)


def write_classes(generator: Generator, options: argparse.Namespace, out: Path) -> Path:
    return classes(generator, options.seed, options.count, options.frames, labels_of(options)).save(out)


def write_truncate(generator: Generator, options: argparse.Namespace, out: Path) -> Path:
    """Writes the images, then prints the metrics of each psi as a table."""
    psi = options.psi or DEFAULTS[generator.prior.distribution]
    path = truncate(generator, psi, options.seed, options.count, labels_of(options)).save(out)
    metrics = metrics_of(generator) if options.metric is None else options.metric
    if not metrics:
        show_error(
            "this run has no metric of precision and recall; name one, as --metric pixel_precision_recall.",
            "yellow",
        )
        return path
    found = list(costs(generator, psi, metrics, options.n_fake, options.split))
    rows = [(f"{cost.psi:g}", *(f"{value:.4g}" for value in cost.values.values())) for cost in found]
    Terminal().show(table(("psi", *found[0].values), rows, numbers=("psi", *found[0].values)))
    return path


def write_directions(generator: Generator, options: argparse.Namespace, out: Path) -> Path:
    shape = (options.seed, options.count, options.steps, options.extent)
    return directions(generator, *shape, labels_of(options), latents=latents_of(generator, options)).save(out)


def write_neighbours(generator: Generator, options: argparse.Namespace, out: Path) -> Path:
    """Writes the pictures, and prints the distances to the nearest training images."""
    asked = (options.seed, options.count, options.k, options.features, options.n_train, labels_of(options))
    film, distances = neighbours(generator, *asked)
    path = film.save(out)
    rows = [(n + 1, f"{near[0]:.4g}", f"{near[-1]:.4g}") for n, near in enumerate(distances.tolist())]
    Terminal().show(table(("sample", "nearest", f"{options.k}th"), rows, numbers=("nearest", f"{options.k}th")))
    return path


def write_project(generator: Generator, options: argparse.Namespace, out: Path) -> Path:
    """Writes the film of the way and, beside it, the latents; prints the errors."""
    asked = (options.restarts, options.steps, options.features, options.weight, options.seed, labels_of(options))
    found = project(generator, options.image, *asked)
    path = found.film.save(out)
    columns = {"error at the start": found.first_errors, "error": found.errors}
    columns |= {} if found.feature_errors is None else {"error of the features": found.feature_errors}
    rows = [(n + 1, *(f"{each:.4f}" for each in row)) for n, row in enumerate(zip(*columns.values(), strict=True))]
    Terminal().show(table(("restart", *columns), rows, numbers=tuple(columns)))
    Terminal().show(str(found.save(path.with_suffix(".npz"))))
    return path


def write_map(generator: Generator, options: argparse.Namespace, out: Path) -> Path:
    return plane_map(generator).save(out)


WRITERS = {
    "interpolate": write_interpolate,
    "classes": write_classes,
    "truncate": write_truncate,
    "directions": write_directions,
    "neighbours": write_neighbours,
    "project": write_project,
    "map": write_map,
}

if __name__ == "__main__":
    main()
