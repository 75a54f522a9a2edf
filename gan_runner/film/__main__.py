"""Films of the training: python -m gan_runner.film outputs/NAME [outputs/OTHER ...]."""

import argparse
import sys
from pathlib import Path

from gan_runner.cli.plain import enter_plain, path
from gan_runner.film.training import of_training
from gan_runner.film.writers import check_format
from gan_runner.records.console import Terminal


def main() -> None:
    enter_plain(lambda: Terminal().show(str(write(options_of(sys.argv[1:])))), "interrupted; no file was written.")


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gan_runner.film", description="The fixed samples of runs over their training, side by side."
    )
    parser.add_argument("runs", type=path, nargs="+", metavar="run", help="run folders: outputs/NAME")
    parser.add_argument(
        "--from", choices=["samples", "checkpoints"], default="samples", dest="origin", help="default samples"
    )
    parser.add_argument("--fps", type=float, default=10.0, help="frames per second (default 10)")
    parser.add_argument(
        "--out", type=path, help=".mp4, .gif or .webp, or a strip as .png (default: film.webp in the first run folder)"
    )
    parser.add_argument("--trust", action="append", default=[], help="a class of your own that may be built")
    return parser.parse_args(arguments)


def write(options: argparse.Namespace) -> Path:
    """Writes the film and returns its path."""
    out = options.out or options.runs[0] / "film.webp"
    check_format(out, 1)
    return of_training(options.runs, options.origin, options.fps, options.trust).save(out)


if __name__ == "__main__":
    main()
