"""Makes the figures of the docs: python docs/figures.py [dirac] [gradients] [ring8] [errors] [film] [toys] [augment].

Without a name the script makes the figures of docs/losses.md. errors (docs/results.md) needs runs of an hour; film and
toys (docs/datasets.md) need the runs of that page; augment is for docs/augment.md.
"""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from gan_runner import sample
from gan_runner.assembly.build import build
from gan_runner.assembly.make import make
from gan_runner.augment.ada import ADA, BLIT, COLOR, GEOMETRY
from gan_runner.augment.diffaugment import DiffAugment
from gan_runner.augment.flip import Flip
from gan_runner.cli.compose import compose
from gan_runner.metric.modes import SAMPLES, modes
from gan_runner.noise import Noise
from gan_runner.protocols import Augmentation
from gan_runner.records.folder import RunFolder
from gan_runner.records.grid import image_grid
from gan_runner.sampling.source import generate
from gan_runner.schedule import Progress
from gan_runner.spec import ImageSpec
from gan_runner.training.run import Run

IMAGES = Path(__file__).parent / "images"
TEST_ERROR = "metric/test_error"


def run_of(*overrides: str) -> Run:
    return build(compose(["device=cpu", *overrides]))


def panels(count: int, columns: int) -> tuple[Figure, list[Axes]]:
    rows = math.ceil(count / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2 * columns, 2.2 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, list(axes.flat[:count])


# ---- the Dirac-GAN: theta horizontally, psi vertically

FREE = "loss.constraint=null"  # spectral norm would fix the slope except for its sign
WEIGHT = "loss.penalties.gradient.weight={}"
DIRAC = {
    "gan": ("loss=gan",),
    "minimax": ("loss=minimax",),
    "minimax, simultaneous": ("loss=minimax", "loss.simultaneous=true"),
    "lsgan -1 1 0": ("loss=lsgan", "loss.adversarial.a=-1", "loss.adversarial.c=0"),
    "hinge": ("loss=hinge",),
    "wgan, clipped at 1": ("loss=wgan", "loss.constraint.bound=1"),
    "wgan_gp, lambda 1": ("loss=wgan_gp", WEIGHT.format(1)),
    "wgan_lp": ("loss=wgan_lp",),
    "wgan_div": ("loss=wgan_div",),
    "dragan, lambda 1": ("loss=dragan", WEIGHT.format(1)),
    "r1, gamma 0.3": ("loss=r1", WEIGHT.format(0.15)),
    "r1, gamma 1": ("loss=r1", WEIGHT.format(0.5)),
    "r1, gamma 10": ("loss=r1",),
    "zero_gp": ("loss=zero_gp",),
    "roth": ("loss=roth",),
    "gan, instance noise 1": ("loss=gan", "loss.instance_noise=1.0", "train.batch_size=256"),
    "rsgan": ("loss=rsgan", FREE),
    "rasgan": ("loss=rasgan", FREE),
    "ralsgan": ("loss=ralsgan", FREE),
    "rahinge": ("loss=rahinge", FREE),
    "r3gan": ("loss=r3gan",),
    "fgan, kl": ("loss=fgan",),
    "fgan, pearson": ("loss=fgan", "loss.adversarial.divergence=pearson"),
    "fgan, js": ("loss=fgan", "loss.adversarial.divergence=js"),
}


def path(steps: int, *overrides: str) -> Tensor:
    """Trains a Dirac-GAN; returns (steps + 1, 2): theta and psi after each step."""
    run = run_of("experiment=dirac", "optimizer.lr=0.05", f"train.total_steps={steps}", *overrides)
    numbers = [next(player.network.parameters()) for player in (run.generator, run.discriminator)]
    points = [torch.cat([number.detach().flatten() for number in numbers])]
    for _ in range(steps):
        run.step()
        points.append(torch.cat([number.detach().flatten() for number in numbers]))
    return torch.stack(points)


def verdict(points: Tensor) -> str:
    """Judges a path by the largest distances of the generator from the data in its second and in its last quarter."""
    _, second, _, last = points[1:, 0].abs().chunk(4)
    before, after = float(second.max()), float(last.max())
    if after < 0.05:
        return "converges"
    if float(last.min()) > 0.98 * after:
        return "stops elsewhere"
    return "diverges" if after > 1.005 * before else "comes nearer" if after < 0.95 * before else "orbits"


def dirac(steps: int = 4000) -> None:
    figure, axes = panels(len(DIRAC), 6)
    for axis, (name, overrides) in zip(axes, DIRAC.items(), strict=True):
        points = path(steps, *overrides)
        axis.plot(*points.T, color="0.8", linewidth=0.5)
        axis.scatter(points[::5, 0], points[::5, 1], c=range(0, steps + 1, 5), s=2, cmap="viridis")
        axis.plot(0, 0, "r+")
        axis.set_title(f"{name}\n{verdict(points)}", fontsize=8)
        axis.tick_params(labelsize=6)
        print(f"{name}: {verdict(points)}")
    figure.savefig(IMAGES / "dirac.png", dpi=110)


# ---- the gradient of the generator while the discriminator learns

STARVED = ("minimax", "gan", "lsgan", "wgan", "wgan_gp")


def gradient_norms(loss: str, generator: dict[str, Tensor], marks: list[int]) -> list[float]:
    """Returns gradient norms of a fixed generator after the numbers of updates in `marks` of a new discriminator."""
    run = run_of(f"loss={loss}", "train.batch_size=256", "model.discriminator.norm=none", "seed=1")
    run.generator.network.load_state_dict(generator)
    norms = []
    for update in range(marks[-1] + 1):
        if update in marks:
            norms.append(float(run.algorithm.generator.gradient(0, run.clock.now())["grad_norm/generator"]))
            run.generator.optimizer.zero_grad()
        run.algorithm.warm_up()
    return norms


def gradients(steps: int = 500, most: int = 4096) -> None:
    trained = run_of("loss=gan")
    for _ in range(steps):
        trained.step()
    marks = sorted({0} | {round(2 ** (power / 2)) for power in range(round(2 * math.log2(most)) + 1)})
    figure, axis = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for loss in STARVED:
        norms = gradient_norms(loss, trained.generator.network.state_dict(), marks)
        axis.plot(
            [mark + 1 for mark in marks], norms, marker=".", label=f"{loss}{' (non-saturating)' * (loss == 'gan')}"
        )
        print(f"{loss}: {norms[0]:.3g} at first, {max(norms):.3g} at most, {norms[-1]:.3g} after {marks[-1]} updates")
    axis.set(xscale="log", yscale="log", xlabel="discriminator updates + 1", ylabel="norm of the generator's gradient")
    axis.legend()
    figure.savefig(IMAGES / "starved.png", dpi=110)


# ---- the ring of Gaussians, learned with each loss of a sweep


def ring8(sweep: Path = Path("outputs/ring8")) -> None:
    folders = sorted(path.parent for path in sweep.glob("*/config.yaml"))
    if not folders:
        sys.exit(
            f"{sweep} has no runs; make them with python -m gan_runner -m experiment=ring8 study=ring8 "
            f"'loss=glob(*,exclude=[acgan*,semi*])'"
        )
    figure, axes = panels(len(folders), 6)
    print("| loss | modes | within 3 deviations | reverse KL | steps | seconds |\n|---|---|---|---|---|---|")
    for axis, folder in zip(axes, folders, strict=True):
        points = generate(sample.load(folder, count=SAMPLES).sampler, 0, SAMPLES, None).flatten(1)
        data = make((RunFolder(folder).read_config() or {})["dataset"], "dataset")
        found, good, kl, _ = modes(points, data.centers, data.std)
        name = dict(part.split("=") for part in folder.name.split(",")).get("loss", "gan")
        summary = RunFolder(folder).read_summary()
        print(f"| `{name}` | {found} | {100 * good:.1f} % | {kl:.4f} | {summary['steps']} | {summary['seconds']:.0f} |")
        axis.scatter(points[:, 0], points[:, 1], s=1, alpha=0.3)
        axis.plot(*data.centers.T, "r+")
        axis.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), xticks=[], yticks=[])
        axis.set_title(f"{name}: {found} modes, {100 * good:.0f} %", fontsize=8)
    figure.savefig(IMAGES / "ring8.png", dpi=110)


# ---- the test error of semi-supervised learning


def errors(study: Path = Path("outputs/ssl")) -> None:
    paths = sorted(study.glob("*/metrics.jsonl"))
    if not paths:
        sys.exit(f"{study} has no runs; docs/results.md has the commands that make them")
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    for path in paths:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        points = [(line["step"], 100 * line[TEST_ERROR]) for line in lines if TEST_ERROR in line]
        axis.plot(*zip(*points, strict=True), label=path.parent.name)
    axis.set(xlabel="generator step (500 are an epoch)", ylabel="test error (%)", yscale="log")
    axis.set_yticks([1, 2, 5, 10, 20], labels=["1", "2", "5", "10", "20"])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(IMAGES / "ssl_errors.png", dpi=110)


# ---- augmented images

PHOTO = ImageSpec(3, 48, 48)
OTHERS = ("imgfilter", "noise", "cutout")


def ada(*names: str) -> ADA:
    """Returns ADA with only these transforms, at probability 1."""
    factors: dict[str, Any] = {name: float(name in names) for name in (*BLIT, *GEOMETRY, *COLOR, *OTHERS)}
    return ADA(PHOTO, torch.device("cpu"), batch_size=8, probability=1.0, **factors)


def augment() -> None:
    """Draws a row for each augmentation: eight images, from two photographs in turn."""
    squares = [torch.tensor(photo[:, 100:527] / 127.5 - 1).permute(2, 0, 1) for photo in load_sample_images().images]
    pair = adaptive_avg_pool2d(torch.stack(squares).float(), (PHOTO.height, PHOTO.width))
    rows: list[Augmentation] = [Flip(), DiffAugment(), ada(*BLIT), ada(*GEOMETRY), ada(*COLOR), *map(ada, OTHERS)]
    images = torch.cat(
        [
            row(pair.repeat(4, 1, 1, 1), Noise(("augment", number), 8, torch.device("cpu")), Progress(0, 1))
            for number, row in enumerate(rows)
        ]
    )
    Image.fromarray(image_grid(images, PHOTO)).quantize(192).save(IMAGES / "augment.png")


# ---- toy data, from the sample pictures of their runs

FRAME = (560, 400)  # pixels
COLOURS = 64
SLOW = 25  # the first pictures of a run, which are all shown; of the later ones every sixth is shown
MOMENTS = (0, 1, 3, 10, 50, -1)  # indices of the pictures in the strip


def pictures(run: Path) -> list[Path]:
    found = sorted((run / "samples").glob("step-*.png"))
    if not found:
        sys.exit(f"{run} has no pictures; docs/datasets.md has the command that makes them")
    return found


def scaled(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.resize(FRAME, Image.Resampling.LANCZOS)


def flat(picture: Image.Image, palette: Image.Image | None = None) -> Image.Image:
    """Reduces a picture to few colours, without dithering, which would compress badly."""
    chosen = palette or picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
    return picture.quantize(palette=chosen, dither=Image.Dither.NONE)


def film(run: Path = Path("outputs/experiment=gaussian_1d")) -> None:
    """Makes gaussian_1d.gif, and gaussian_1d.png with a few of its frames."""
    found = pictures(run)
    shown = [*found[:SLOW], *found[SLOW::6], found[-1]]
    palette = flat(scaled(found[-1]))
    frames = [flat(scaled(path), palette) for path in shown]
    times = [200] * (len(frames) - 1) + [3000]  # milliseconds
    frames[0].save(IMAGES / "gaussian_1d.gif", save_all=True, append_images=frames[1:], duration=times, loop=0)
    strip = Image.new("RGB", (3 * FRAME[0], 2 * FRAME[1]))
    for number, index in enumerate(MOMENTS):
        strip.paste(scaled(found[min(index, len(found) - 1)]), (number % 3 * FRAME[0], number // 3 * FRAME[1]))
    flat(strip).save(IMAGES / "gaussian_1d.png", optimize=True)


def toys(study: Path = Path("outputs/toys")) -> None:
    """Copies the last picture of each run of the study."""
    for name in ("ring8", "grid25", "swiss_roll", "two_moons"):
        with Image.open(pictures(study / name)[-1]) as last:
            last.quantize(256, dither=Image.Dither.NONE).save(IMAGES / f"toy_{name}.png", optimize=True)


OF_LOSSES: dict[str, Callable[[], None]] = {"dirac": dirac, "gradients": gradients, "ring8": ring8}
FIGURES = OF_LOSSES | {"errors": errors, "film": film, "toys": toys, "augment": augment}

if __name__ == "__main__":
    plt.switch_backend("Agg")
    torch.set_num_threads(1)  # the networks are tiny, so more threads would be slower
    for figure_name in sys.argv[1:] or OF_LOSSES:
        FIGURES[figure_name]()
