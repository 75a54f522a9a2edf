"""Speed of training: python -m gan_runner.benchmark [overrides] [--seconds 5] [--repeats 5] [--estimate].

Each repeat measures, for --seconds each: the composed run in a temporary folder, a bare loop over the same step, a
textbook loop of the same networks and loss, and matrix products in the same precision (1 second at most). Results go to
outputs/.benchmarks/NAME.json. Ratios are taken within one repeat, and every other repeat has the reverse order, so that
a drift of the machine's speed cancels.

With --estimate it prints how long the composed run will take on this machine, and measures nothing else.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import hydra
from omegaconf import DictConfig

from gan_runner.assembly.structure import check_structure
from gan_runner.benchmarking.contest import benchmark
from gan_runner.benchmarking.estimate import Estimate, estimate
from gan_runner.benchmarking.measuring import Plan
from gan_runner.cli.entry import end, enter_alone, through_hydra
from gan_runner.cli.naming import run_name
from gan_runner.cli.places import CONF, OUTPUTS
from gan_runner.cli.request import request_of_job
from gan_runner.errors import ConfigError
from gan_runner.records.console import Terminal, duration
from gan_runner.storage.files import storing, write_atomically

BENCHMARKS = OUTPUTS / ".benchmarks"
COLUMNS = (
    *("run", "precision, threads", "images/s", "steps/s"),
    *("speed / bare loop", "speed / textbook loop", "share of the matrix rate"),
)


def main() -> None:
    typed = sys.argv[1:]
    try:
        plan, sys.argv[1:] = plan_of(typed)
    except ConfigError as error:
        end(error, with_traceback=False)

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def job(cfg: DictConfig) -> None:
        with through_hydra():
            carry_out(cfg, plan, shlex.join(["python", "-m", "gan_runner.benchmark", *typed]))

    enter_alone(job)


def carry_out(cfg: DictConfig, plan: Plan, command: str) -> None:
    request = request_of_job(cfg)
    config, name = request.config, run_name(request)
    check_structure(config)
    with storing(BENCHMARKS):
        BENCHMARKS.mkdir(parents=True, exist_ok=True)
    if plan.estimate:
        terminal = Terminal()
        terminal.show(f"{name}: measuring for {plan.seconds:g} s ...")
        found = estimate(config, plan.seconds, BENCHMARKS)
        terminal.show("\n".join(estimated(found, metrics_of(config))))
        return
    result = {"name": name, "command": command, **benchmark(config, plan, command, BENCHMARKS)}
    file = BENCHMARKS / f"{name}.json"
    with storing(BENCHMARKS):
        write_atomically(file, lambda opened: opened.write(f"{json.dumps(result, indent=2)}\n".encode()))
    Terminal().show("\n".join([*report(result), "", *markdown(result), "", f"saved in {file}"]))


def plan_of(arguments: Sequence[str]) -> tuple[Plan, list[str]]:
    """Returns the benchmark's own options, which are no settings of the run, and the arguments left for Hydra."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--estimate", action="store_true")
    try:
        options, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error.argument_name}: {error.message}; it should be a number, as --seconds 5.") from error
    if not (0 < options.seconds < float("inf") and options.repeats >= 1):
        raise ConfigError(f"--seconds {options.seconds} and --repeats {options.repeats} should be above 0.")
    return Plan(options.seconds, options.repeats, options.estimate), rest


def metrics_of(config: Mapping[str, Any]) -> list[str]:
    return [name for name, node in config["metric"].items() if isinstance(node, Mapping)]


# ---- output


def estimated(found: Estimate, metrics: Sequence[str]) -> Iterator[str]:
    """Yields the lines of an estimate; times count from the start of the command."""
    length = "" if found.steps is None else f" ({found.steps:,} steps)"
    parts = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in found.sections.items())
    yield f"{'first step after':<22}{duration(found.first_step)}"
    yield f"{'first picture after':<22}{duration(found.to_first_picture)} (step {found.picture_step:,})"
    yield f"{'end of the run after':<22}{duration(found.to_end)}{length}"
    yield f"{'peak memory':<22}{found.peak_memory_mb:,.0f} MB of {found.memory_mb:,.0f}"
    step = 1000 * found.measured.seconds / found.measured.steps
    yield f"{'measured':<22}{found.measured.steps} steps of {step:.3g} ms; {parts}"
    if found.evaluations:
        yield f"not counted: {found.evaluations} evaluations of {', '.join(metrics)}"


def report(result: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines of the report: medians, with the smallest and the largest value in brackets."""
    yield f"{result['name']}: {result['environment']['device']}, {arithmetic(result)}"
    for name, words in (("runner", "this runner"), ("bare", "its bare loop"), ("textbook", "textbook loop, fp32")):
        if name in result:
            images, steps = result[name]["images_per_second"], result[name]["steps_per_second"]
            yield f"{words:<22}{spelled(images, ',.0f')} images/s, {spelled(steps, ',.2f')} steps/s"
    for name, words in (("bare", "relative to bare loop"), ("textbook", "relative to textbook")):
        if f"beside_{name}" in result:
            yield f"{words:<22}{spelled(result[f'beside_{name}'], '.3f')} times as fast"
    shares = ", ".join(f"{name} {share:.2%}" for name, share in result["shares_of_time"].items())
    yield f"{'share of time':<22}{shares}"
    yield f"{'operations per image':<22}{result['operations_per_image']:,.0f}"
    for name, words in (("operations_per_second", "operation rate"), ("matrix_operations_per_second", "matrix rate")):
        giga = {key: value / 1e9 for key, value in result[name].items() if key != "repeats"}
        yield f"{words:<22}{spelled(giga, ',.1f')} billion a second"
    yield f"{'share of matrix rate':<22}{spelled(result['share_of_matrix_rate'], '.1%')}"
    first = result["seconds_to_first_step"]
    yield f"{'first step after':<22}{'unknown here' if first is None else f'{first:.1f} s'}"
    yield f"{'peak memory':<22}{result['peak_memory_mb']:,.0f} MB"
    yield from result["notes"]


def arithmetic(result: Mapping[str, Any]) -> str:
    precision, threads = (result["environment"][key] for key in ("precision", "threads"))
    return f"{precision}, {threads} thread{'s' * (threads > 1)}"


def spelled(values: Mapping[str, Any], form: str) -> str:
    return f"{values['median']:{form}} ({values['least']:{form}} to {values['most']:{form}})"


def markdown(result: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines of a Markdown table with one row."""
    own = result["runner"]
    row = (
        f"`{result['name']}`",
        arithmetic(result),
        spelled(own["images_per_second"], ",.0f"),
        spelled(own["steps_per_second"], ".2f"),
        spelled(result["beside_bare"], ".3f"),
        spelled(result["beside_textbook"], ".2f") if "beside_textbook" in result else "-",
        spelled(result["share_of_matrix_rate"], ".0%"),
    )
    for cells in (COLUMNS, ("---",) * len(COLUMNS), row):
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
