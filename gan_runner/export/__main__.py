"""Files of a trained run that other programs load: python -m gan_runner.export outputs/NAME.

Each file is loaded again by the library that serves it, and compared with the run's own network over 64 images. The
command prints the inputs and outputs of each file, with a program that serves it, and writes a model card.
"""

import argparse
import logging
import sys

from gan_runner.cli.plain import enter_plain, find_users_classes, path
from gan_runner.errors import ConfigError
from gan_runner.export.exporting import KINDS, Exported, Request, export, write_only_card
from gan_runner.records.console import Terminal, logging_to


def main() -> None:
    find_users_classes()
    with logging_to(logging.StreamHandler()):
        enter_plain(lambda: write(options_of(sys.argv[1:])), "interrupted; the files printed above are complete.")


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m gan_runner.export", description="Files of a trained run that other programs load."
    )
    parser.add_argument("run", type=path, help="a run folder: outputs/NAME")
    parser.add_argument(
        "--format", nargs="+", default=KINDS, metavar="NAME", help=f"of {', '.join(KINDS)} (default: all)"
    )
    parser.add_argument("--discriminator", action="store_true", help="export it too, as a scorer or classifier")
    parser.add_argument("--card", action="store_true", help="write the model card alone")
    parser.add_argument("--licence", help="for the model card: mit, apache-2.0, ... (default: none is chosen)")
    parser.add_argument("--checkpoint", default="last", help="last (default), best or a step")
    parser.add_argument("--average", help="half-life in images, of a run with several averages (default: the first)")
    parser.add_argument("--out", type=path, help="a folder (default: export in the run folder)")
    parser.add_argument("--trust", action="append", default=[], help="a class of your own that may be built")
    return parser.parse_args(arguments)


def write(options: argparse.Namespace) -> None:
    if options.card and (options.discriminator or tuple(options.format) != KINDS):
        raise ConfigError("--card writes the model card alone; leave it away to export networks, which adds the card.")
    request = Request(
        options.run,
        options.format,
        options.discriminator,
        options.checkpoint,
        options.out,
        options.licence,
        options.trust,
        options.average,
    )
    card = write_only_card(request) if options.card else export(request, show)[0]
    Terminal().show(str(card))


def show(made: Exported) -> None:
    terminal = Terminal()
    terminal.show(f"{made.path}  (loaded again: the largest difference is {made.difference:.2g})")
    if made.example:
        terminal.show(f"{made.signature}\n\n{made.example}")


if __name__ == "__main__":
    main()
