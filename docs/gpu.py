"""The complete check of a GPU, as `make gpu` runs it: speed, tests and a training. Writes one JSON file.

python docs/gpu.py [--out outputs/.gpu] [--device cuda] [--minutes 7.5] [--quick]

Speed is measured first, without other work on the GPU; then the tests run beside the training. Parts that do not fit
into the minutes are left out, and the file lists them. --quick tests the script itself, with tiny networks.
"""

import argparse
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gan_runner.assembly.trial import first_line
from gan_runner.benchmark import spelled
from gan_runner.benchmarking.contest import Bare
from gan_runner.benchmarking.measuring import Plan
from gan_runner.cli.compose import compose
from gan_runner.device import Device
from gan_runner.records.environment import environment
from gan_runner.storage.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
SHARES = {"graphs": 0.2, "eager": 0.36, "compiled": 0.48}  # way -> share of the time at which its measurement ends
SPEED, TESTS = 0.48, 0.95  # shares of the time at which the speeds, and then the tests, are cut short
OVERTIME = 20.0  # seconds in which the variant that is then being measured may finish
TOO_LATE = "left out: the time was over"
TRAINING = 120.0  # seconds
GRACE = 15.0  # seconds for a stopped process to report its results
TIMED = "tests/test_gpu.py::test_housekeeping_is_cheap_on_a_gpu"  # needs the GPU for itself
LAPS, QUICK = Plan(0.4, 3), Plan(0.01, 1)
SYNTHETIC = ("dataset=synthetic",)
SIXTY_FOUR = ("dataset.height=64", "dataset.width=64", "dataset.count=4096")
NETWORKS = {  # with the batch sizes of the published recipes
    "DCGAN 32x32": ("experiment=dcgan_cifar10", *SYNTHETIC),
    "WGAN-GP ResNet 32x32": ("experiment=wgan_gp_cifar10", *SYNTHETIC),
    "SNGAN ResNet 32x32": ("experiment=sngan_cifar10", *SYNTHETIC),
    "DCGAN 64x64": ("experiment=dcgan_celeba64", *SYNTHETIC, *SIXTY_FOUR),
}
TARGETS = {"DCGAN 32x32": 50_000, "WGAN-GP ResNet 32x32": 10_000, "SNGAN ResNet 32x32": 15_000}  # images/s on an H200
WAYS = {
    "eager": ("device.graphs=false",),
    "graphs": ("device.graphs=true",),
    "contiguous": ("device.graphs=false", "device.channels_last=false"),
    "compiled": ("device.graphs=false", "device.compile=true"),
}
PRECISIONS = ("bf16", "tf32", "fp16", "fp32")
COLUMNS = ("networks", "computation", "images/s", "share of the matrix rate", "peak MB")
TINY = {
    "MLP": (
        *("loss=wgan_gp", "train.batch_size=8", "model.latent.dim=4"),
        *("model.generator.widths=[8]", "model.discriminator.widths=[8]"),
    )
}


@dataclass
class Check:
    """The options of the check, and its results so far."""

    out: Path
    device: str
    minutes: float
    quick: bool
    began: float = field(default_factory=time.perf_counter)
    found: dict[str, Any] = field(default_factory=dict)

    def left(self, share: float = 1.0) -> float:
        """Returns the seconds until this share of the time has passed."""
        return share * 60 * self.minutes - (time.perf_counter() - self.began)

    def write(self) -> None:
        """Writes the results; called after each part, so that an interrupted check leaves its results."""
        self.found["seconds"] = time.perf_counter() - self.began
        text = json.dumps(self.found, indent=2) + "\n"
        write_atomically(self.out / "gpu.json", lambda file: file.write(text.encode()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/.gpu"), help="folder of the results")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=7.5, help="that all of it may take")
    parser.add_argument("--quick", action="store_true", help="tiny networks, to try the script")
    parser.add_argument("--child", choices=("eager", "graphs", "compiled"), help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        for row in measure_way(options.child, options.device, options.quick, options.seconds):
            print(json.dumps(row), flush=True)
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "make gpu: this machine has no usable CUDA GPU; python docs/gpu.py --device cpu --quick tries the script "
            "itself.",
            file=sys.stderr,
        )
        raise SystemExit(2)
    options.out.mkdir(parents=True, exist_ok=True)
    check = Check(options.out.resolve(), options.device, options.minutes, options.quick)
    raise SystemExit(carry_out(check))


def carry_out(check: Check) -> int:
    """Runs the check; returns 0 if no test failed and the training ended with exit code 0, else 1."""
    check.found["environment"] = environment(Device(check.device))
    measure(check)
    check.found["timed_test"] = tested(check, "timed", [TIMED, "-s"], 8 * GRACE)
    training = start_training(check)
    run_tests(check)
    end_training(check, training)
    check.write()
    print("\n".join(report(check.found)), flush=True)
    print(f"saved in {check.out / 'gpu.json'}")
    return 1 if any(check.found[part]["exit_code"] for part in ("timed_test", "tests", "training")) else 0


# ---- speed


def measure(check: Check) -> None:
    """Measures each way in its own process, so that a failure that breaks the GPU's context affects no other way."""
    speeds: list[dict[str, Any]] = []
    check.found["speed"] = speeds
    ways = SHARES if check.device == "cuda" else {"eager": SPEED}
    for way, share in ways.items():
        command = [sys.executable, __file__, "--child", way, "--device", check.device]
        command += ["--seconds", str(max(0.0, check.left(share))), *(["--quick"] if check.quick else [])]
        process = subprocess.Popen(command, env=surroundings(), stdout=subprocess.PIPE)
        timer = threading.Timer(max(check.left(share), 0) + OVERTIME, process.kill)
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            speeds.append(json.loads(line))
            print(" | ".join(cells(speeds[-1])), flush=True)
        if process.wait() != 0:
            speeds.append({"networks": "all others", "computed": way, "error": f"exit code {process.returncode}"})
        timer.cancel()
        check.write()
    check.found["targets"] = {name: beside(speeds, name, target) for name, target in TARGETS.items()}


def variants(way: str, device: str, quick: bool) -> Iterator[tuple[str, str, list[str]]]:
    """Yields networks, way of computing and overrides; the most important first, since the last may be left out."""
    best, *others = PRECISIONS if device == "cuda" else ("bf16", "fp32")
    plan = [(way, best)] + [("contiguous", best)] * (way == "eager") + [(way, precision) for precision in others]
    for how, precision in plan:
        for name, overrides in (TINY if quick else NETWORKS).items():
            asked = (*overrides, f"device={device}", *WAYS[how], f"device.precision={precision}")
            yield name, f"{precision}, {how}", list(asked)


def measure_way(way: str, device: str, quick: bool, seconds: float) -> Iterator[dict[str, Any]]:
    """Yields a row for each variant; a variant is left out if the previous one's time exceeds the remaining time."""
    began, taken = time.perf_counter(), 0.0
    for name, computed, overrides in variants(way, device, quick):
        row = {"networks": name, "computed": computed, "overrides": overrides}
        start = time.perf_counter()
        if start - began + taken > seconds:
            yield row | {"error": TOO_LATE}
            continue
        try:
            row |= alone(overrides, QUICK if quick else LAPS)
        except Exception as error:  # noqa: BLE001 (the failure of one variant is reported, and the others are measured)
            row |= {"error": f"{type(error).__name__}: {first_line(error)}"}
        taken = time.perf_counter() - start
        yield row
        if device == "cuda":
            torch.cuda.empty_cache()


def alone(overrides: Sequence[str], asked: Plan) -> dict[str, Any]:
    bare = Bare(compose(overrides))
    for _ in range(asked.repeats):
        bare.take_turn(asked.seconds)
    return bare.result()


def beside(speeds: Sequence[Mapping[str, Any]], name: str, target: int) -> dict[str, Any]:
    """Returns the target of some networks, and their fastest measurement."""
    own = [row for row in speeds if row["networks"] == name and "error" not in row]
    if not own:
        return {"target": target, "measured": None}
    best = max(own, key=lambda row: float(row["images_per_second"]["median"]))
    return {
        "target": target,
        "measured": best["images_per_second"]["median"],
        "computed": best["computed"],
        "share_of_matrix_rate": best["share_of_matrix_rate"]["median"],
    }


# ---- tests


def run_tests(check: Check) -> None:
    """Runs the tests marked gpu, in parallel if pytest-xdist is installed, until the time is over."""
    chosen = ["tests/test_gpu.py"] if check.quick else ["tests/test_gpu.py", "tests"]
    if not check.quick and importlib.util.find_spec("xdist") is not None:
        chosen += ["-n", str(min(8, os.cpu_count() or 1))]
    check.found["tests"] = tested(check, "tests", [*chosen, "--deselect", TIMED], check.left(TESTS))
    check.write()


def tested(check: Check, name: str, chosen: Sequence[str], seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-rfE", "--tb=short", "-p", "no:cacheprovider", *chosen]
    began, path = time.perf_counter(), check.out / f"{name}.log"
    with path.open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=surroundings(), stdout=log, stderr=subprocess.STDOUT)
        cut = not ended(process, seconds)
    lines = path.read_text().splitlines()
    return {
        "command": " ".join(command),
        "exit_code": process.returncode,
        "cut_short": cut,
        "seconds": time.perf_counter() - began,
        "result": next((line for line in reversed(lines) if re.search(r"\d+ (passed|failed|skipped)", line)), None),
        "failures": [line for line in lines if line.startswith(("FAILED", "ERROR"))],
    }


def ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the process ends by itself within `seconds`; else it gets SIGINT and, after GRACE, is killed."""
    try:
        process.wait(max(seconds, 1.0))
        return True
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return False


def surroundings() -> dict[str, str]:
    """Returns environment variables with which Python imports this checkout from any folder."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


# ---- a training


def start_training(check: Check) -> subprocess.Popen[bytes]:
    """Starts a training on CIFAR-10 if its files are present, else on digits. Its speed is that of a busy GPU."""
    seconds = 1.0 if check.quick else min(TRAINING, check.left(TESTS) - 2 * GRACE)
    root = Path(os.environ.get("GAN_RUNNER_DATA", "data")).resolve()
    digits = ["model=dcgan", "loss=wgan_gp", "dataset=digits", "train.total_steps=1000000"]
    chosen = ["experiment=sngan_cifar10"] if (root / "cifar-10-batches-py").is_dir() else digits
    chosen = [*TINY["MLP"], "train.total_steps=1000000"] if check.quick else chosen
    settings = [f"device={check.device}", f"train.total_seconds={seconds}", "name=gpu", "train.fresh=true"]
    command = [sys.executable, "-m", "gan_runner", *chosen, *settings]
    folder = check.out / "training"
    folder.mkdir(exist_ok=True)
    check.found["training"] = {"command": " ".join(command)}
    with (folder / "output.log").open("w") as log:
        around = surroundings() | {"GAN_RUNNER_DATA": str(root)}
        return subprocess.Popen(command, cwd=folder, env=around, stdout=log, stderr=subprocess.STDOUT)


def end_training(check: Check, process: subprocess.Popen[bytes]) -> None:
    cut = not ended(process, check.left())
    folder = check.out / "training" / "outputs" / "gpu"
    found = check.found["training"] | {"exit_code": process.returncode, "cut_short": cut}
    grids = sorted((folder / "samples").glob("step-*.png"))
    if grids:
        shutil.copy(grids[-1], check.out / "samples.png")
        found["samples"] = "samples.png"
    if (folder / "summary.json").exists():
        found["summary"] = json.loads((folder / "summary.json").read_text())
    check.found["training"] = found


# ---- the report


def report(found: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    for line in (COLUMNS, ("---",) * len(COLUMNS), *map(cells, found["speed"])):
        yield f"| {' | '.join(line)} |"
    yield ""
    for name, beside_it in found["targets"].items():
        if beside_it["measured"] is None:
            yield f"{name}: target {beside_it['target']:,} images/s, not measured"
        else:
            share = f"{beside_it['share_of_matrix_rate']:.0%} of the matrix rate"
            measured = f"measured {beside_it['measured']:,.0f} ({beside_it['computed']}; {share})"
            yield f"{name}: target {beside_it['target']:,} images/s, {measured}"
    training = found["training"]
    for name, tests in (("timed test", found["timed_test"]), ("tests", found["tests"])):
        yield f"{name}: {tests['result']}{' (cut short)' if tests['cut_short'] else ''}"
        yield from tests["failures"]
    summary = training.get("summary", {})
    yield (
        f"training: {summary.get('status', 'no summary')}, {summary.get('steps', 0):,} steps in "
        f"{summary.get('seconds', 0):.0f} s beside the tests, exit code {training['exit_code']}"
    )


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if "error" in row:
        return row["networks"], row["computed"], row["error"], "-", "-"
    rate, share = spelled(row["images_per_second"], ",.0f"), spelled(row["share_of_matrix_rate"], ".1%")
    return row["networks"], row["computed"], rate, share, f"{row['peak_memory_mb']:,.0f}"


if __name__ == "__main__":
    main()
