"""The options of `python -m gan_runner.latent`, a parser for each verb."""

import argparse

from gan_runner.cli.plain import path
from gan_runner.latent.directions import FRAMES
from gan_runner.records.scores import REPORT

VERBS = {
    "interpolate": "a film from seed to seed, in a loop",
    "classes": "the same latents through all classes",
    "truncate": "samples without the tails of the prior, with what that costs",
    "directions": "the directions of z that change the images most",
    "neighbours": "samples beside their nearest training images",
    "project": "the latent of a photo",
    "map": "where a grid of z lands, for points in the plane",
}
SEEDED = ("classes", "truncate", "directions", "neighbours", "project")
MOST_SEEDS = 100_000
LABELLED = ("interpolate", *SEEDED)
STILLS = ("truncate", "directions", "neighbours", "map")  # whose default format is a strip, .png


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gan_runner.latent", description="Pictures and films of the latent space of a run's generator."
    )
    parser.add_argument("run", type=path, help="a run folder: outputs/NAME")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb", title="verbs")
    added = {verb: verbs.add_parser(verb, help=text, description=f"{text}.") for verb, text in VERBS.items()}
    for verb, each in added.items():
        add_shared(each, verb)
    add_own(added)
    return parser.parse_args(arguments)


def add_shared(parser: argparse.ArgumentParser, verb: str) -> None:
    default = ".png" if verb in STILLS else ".webp"
    if verb in SEEDED:
        parser.add_argument("--seed", type=int, default=0, help="of the latents, as of sample (default 0)")
    if verb in LABELLED:
        parser.add_argument("--labels", help="classes of a conditional run, in turn: 3, 0,1,2 or cat,dog")
    parser.add_argument("--checkpoint", default="last", help="last (default), best or a step")
    parser.add_argument("--average", help="half-life in images, of a run with several averages (default: the first)")
    formats = f".mp4, .gif, .webp or .png (default: {default} in the run folder)"
    parser.add_argument("--out", type=path, help=formats)
    parser.add_argument("--trust", action="append", default=[], help="a class of your own that may be built")


def add_own(verbs: dict[str, argparse.ArgumentParser]) -> None:
    interpolate, classes, truncate = verbs["interpolate"], verbs["classes"], verbs["truncate"]
    interpolate.add_argument("--seeds", type=numbers, default=range(8), help="0-7 (default) or 0,3,9")
    interpolate.add_argument("--frames", type=int, default=30, help="from one seed to the next (default 30)")
    interpolate.add_argument("--paths", type=int, default=1, help="images of each seed, side by side (default 1)")
    interpolate.add_argument("--open", action="store_true", help="end at the last seed, and do not return to the first")
    interpolate.add_argument("--cross", action="store_true", help="change to the next class at each seed")
    interpolate.add_argument("--fps", type=float, default=30.0, help="frames per second (default 30)")
    classes.add_argument("--count", type=int, default=8, help="how many latents (default 8)")
    classes.add_argument("--frames", type=int, default=15, help="from one class to the next (default 15)")
    truncate.add_argument("--psi", type=values, help="0.5,1,inf: deviations of a normal prior, or shares of a uniform")
    truncate.add_argument("--count", type=int, default=8, help="how many images (default 8)")
    truncate.add_argument(
        "--metric", nargs="*", metavar="NAME", help="(default: the run's precision and recall, or density and coverage)"
    )
    truncate.add_argument("--n-fake", type=int, help="samples for every metric (default: the run's setting)")
    truncate.add_argument("--split", default=REPORT, help="of real images: test (default), validation or train")
    add_further(verbs)


def add_further(verbs: dict[str, argparse.ArgumentParser]) -> None:
    directions, neighbours, project = verbs["directions"], verbs["neighbours"], verbs["project"]
    directions.add_argument("--count", type=int, default=8, help="how many directions (default 8)")
    directions.add_argument("--steps", type=int, default=9, help=f"columns of a strip, at most {FRAMES // 2 + 1}")
    directions.add_argument("--extent", type=float, default=5.0, help="to either side, in standard deviations (5)")
    for verb in ("interpolate", "directions"):
        verbs[verb].add_argument("--latents", type=path, help="an .npz file of project, in place of seeds")
    neighbours.add_argument("--count", type=int, default=8, help="how many samples (default 8)")
    neighbours.add_argument("--k", type=int, default=8, help="how many training images of each (default 8)")
    neighbours.add_argument("--features", default="pixels", choices=["pixels", "classifier"], help="default pixels")
    neighbours.add_argument("--n-train", type=int, default=50_000, help="training images that are searched (50000)")
    project.add_argument("--image", type=path, required=True, help="a picture file; its middle is taken")
    project.add_argument("--restarts", type=int, default=4, help="descents from different latents (default 4)")
    project.add_argument("--steps", type=int, default=300, help="of the descent (default 300)")
    project.add_argument(
        "--features", default="discriminator", choices=["discriminator", "classifier", "none"], help="beside pixels"
    )
    project.add_argument("--weight", type=float, default=0.1, help="of the features (default 0.1)")


def numbers(text: str) -> list[int]:
    """0-7 or 0,3,9 -> a list of seeds."""
    found: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            found += range(int(first), int(last) + 1)[: MOST_SEEDS + 1] if dash else [int(part)]
    except ValueError:
        found = []
    if not 1 <= len(found) <= MOST_SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} should be 1 to {MOST_SEEDS} seeds, such as 0-7 or 0,3,9")
    return found


def values(text: str) -> list[float]:
    """0.5,1,inf -> a list of numbers."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} should be numbers with commas between, such as 0.5,1,inf") from None
