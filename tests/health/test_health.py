"""Verdicts: each rule on hand-made log lines, runs that are made to fail, and healthy runs."""

import copy
import itertools
import json
import logging
import re
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.health.facts import Facts
from gan_runner.health.probe import deviation, neighbour_distances, smoothed, standardised
from gan_runner.health.verdicts import RULES, Health, Verdict
from gan_runner.loss.adversarial import NonSaturating, Wasserstein
from gan_runner.training.run import Run
from tests.conftest import SMALL, configure, make_run, some, train_in, weights
from tests.game.test_algorithm import SPECTRAL, steps
from tests.health.recorded import Recorded, lines_of, recorded

WELL = {
    **{"accuracy/real": 0.9, "accuracy/fake": 0.9, "score/real": 1.0, "score/fake": -1.0, "score/gap": 2.0},
    **{"grad_norm/generator": 1.0, "grad_norm/discriminator": 1.0, "lr/generator": 2e-4, "lr/discriminator": 2e-4},
    **{"health/separation": 2.0, "health/overfitting": 0.3, "health/accuracy_held_out": 0.8},
    **{"health/sample_std_ratio": 0.9, "health/near_duplicates": 0.0, "health/clipped_weights": 0.1},
    **{"health/weight_growth/generator": 1.5, "health/weight_growth/discriminator": 1.5},
}
PAIRS = {"accuracy/pairwise": 1.0, "score/gap": 5.1}
SLOW = {"generator_won", "negative_estimate"}  # which hold for half of the time where players go round
CENTERED = Facts(centers={"gradient": 1.0})

# What is wrong -> the verdict, the facts, lines where it holds, and lines where it just does not.
CASES: dict[str, tuple[str, Facts, dict[str, float], dict[str, float]]] = {
    "every score has the right sign": (
        *("discriminator_won", Facts(sign_decides=True)),
        {"accuracy/real": 1.0, "accuracy/fake": 0.9991},
        {"accuracy/real": 1.0, "accuracy/fake": 0.998},
    ),
    "every pair is told apart by a wide gap": ("discriminator_won", Facts(), PAIRS, PAIRS | {"score/gap": 4.9}),
    "pairs are told apart, but not all": ("discriminator_won", Facts(), PAIRS, PAIRS | {"accuracy/pairwise": 0.998}),
    "samples score above real images": (
        *("generator_won", Facts()),
        {"health/separation": -0.51, "score/gap": -3.0},
        {"health/separation": -0.49, "score/gap": -3.0},
    ),
    "a negative distance": ("negative_estimate", Facts(), {"wasserstein/estimate": -1e-9}, {"wasserstein/estimate": 0}),
    "near-duplicates": ("collapse", Facts(), {"health/near_duplicates": 0.2}, {"health/near_duplicates": 0.19}),
    "no spread": ("collapse", Facts(), {"health/sample_std_ratio": 0.25}, {"health/sample_std_ratio": 0.26}),
    "little spread and near neighbours": (
        *("collapse", Facts()),
        {"health/sample_std_ratio": 0.35, "health/neighbour_ratio": 0.4},
        {"health/sample_std_ratio": 0.36, "health/neighbour_ratio": 0.4},
    ),
    "near neighbours and little spread": (
        *("collapse", Facts()),
        {"health/sample_std_ratio": 0.35, "health/neighbour_ratio": 0.4},
        {"health/sample_std_ratio": 0.35, "health/neighbour_ratio": 0.41},
    ),
    "no gradient": ("no_gradient", Facts(), {"grad_norm/generator": 1e-8}, {"grad_norm/generator": 2e-8}),
    "scores without bound": ("explosion", Facts(), {"score/fake": -1.1e4}, {"score/fake": -9e3}),
    "a gap without bound": ("explosion", Facts(), {"score/gap": 1.1e3}, {"score/gap": 9e2}),
    "weights that grow": (
        *("explosion", Facts()),
        {"health/weight_growth/discriminator": 10.1},
        {"health/weight_growth/discriminator": 9.9},
    ),
    "held-out images score as samples do": (
        *("learned_by_heart", Facts()),
        {"health/overfitting": 1.01},
        {"health/overfitting": 0.99},
    ),
    "weights at the bound": (
        *("piled_up", Facts()),
        {"health/clipped_weights": 0.5},
        {"health/clipped_weights": 0.49},
    ),
    "slopes too gentle": (
        *("off_center", CENTERED),
        {"gradient_norm/gradient": 0.49},
        {"gradient_norm/gradient": 0.51},
    ),
    "slopes too steep": ("off_center", CENTERED, {"gradient_norm/gradient": 2.1}, {"gradient_norm/gradient": 1.9}),
}


def fed(health: Health, values: dict[str, float], upto: int, every: int = 50, start: int = 0) -> list[tuple]:
    """(step, name, over) of every change, in lines that are all alike."""
    found = []
    for step in range(start + every, upto + 1, every):
        found += [(step, verdict.name, verdict.over) for verdict in health.judge(step, WELL | values)]
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_verdict_needs_its_steps_and_as_many_to_be_over(case: str):
    name, facts, holds, _ = CASES[case]
    told, needed = Health(facts), 1000 if name in SLOW else 500
    assert fed(told, holds, upto=needed - 50) == []
    assert fed(told, holds, upto=1500, start=needed - 50) == [(needed, name, False)]
    assert [verdict.name for verdict in told.verdicts()] == [name]
    assert fed(told, {}, upto=3000, start=1500) == [(1500 + needed, name, True)]
    assert told.verdicts() == []


@pytest.mark.parametrize("case", CASES)
def test_just_below_its_threshold_a_rule_is_silent(case: str):
    _, facts, _, not_quite = CASES[case]
    assert fed(Health(facts), not_quite, upto=3000) == []


@pytest.mark.parametrize("case", CASES)
def test_one_other_line_begins_the_wait_anew(case: str):
    name, facts, holds, _ = CASES[case]
    told, needed = Health(facts), 1000 if name in SLOW else 500
    assert fed(told, holds, upto=400) + fed(told, {}, upto=450, start=400) == []
    assert fed(told, holds, upto=1500, start=450) == [(450 + needed, name, False)]
    assert fed(told, {}, upto=1950, start=1500) + fed(told, holds, upto=2000, start=1950) == []


def test_every_rule_has_a_case():
    assert {name for name, *_ in CASES.values()} == RULES.keys() - {"rising"}


APART = {
    "the sign of a score says nothing": (Facts(), {"accuracy/real": 1.0, "accuracy/fake": 1.0}),
    "an autoencoder's error ranks nothing": (Facts(ranked=False), {"health/separation": -9.0}),
    "the generator is held on purpose": (Facts(), {"health/near_duplicates": 1.0, "lr/generator": 0.0}),
    "a penalty without a centre": (Facts(), {"gradient_norm/gradient": 9.0}),
    "little to tell apart by heart or not": (Facts(), {"health/overfitting": 0.4, "health/separation": 0.1}),
}


@pytest.mark.parametrize("case", APART)
def test_what_means_nothing_is_no_verdict(case: str):
    facts, values = APART[case]
    assert fed(Health(facts), values, upto=2000) == []


@pytest.mark.parametrize(("every", "first"), [(1, 500), (7, 504), (50, 500), (100, 500), (200, 600), (400, 1200)])
def test_five_hundred_steps_and_three_lines_however_often_is_logged(every: int, first: int):
    dead = {"grad_norm/generator": 0.0}
    assert fed(Health(Facts()), dead, upto=2000, every=every) == [(first, "no_gradient", False)]


NEAR = "health/neighbour_ratio"


def test_samples_that_differed_and_are_alike_now_have_collapsed():
    health = Health(Facts())
    assert fed(health, {NEAR: 0.5}, upto=1000) == []
    assert fed(health, {NEAR: 0.31}, upto=2000, start=1000) == []
    assert fed(health, {NEAR: 0.3}, upto=3000, start=2000) == [(2500, "collapse", False)]
    assert "samples collapse" in health.verdicts()[0].sentence
    assert "30 % of the distance between real neighbours" in health.verdicts()[0].sentence
    assert fed(health, {NEAR: 0.5}, upto=4000, start=3000) == [(3500, "collapse", True)]


def test_samples_that_never_differed_have_half_of_the_run():
    health = Health(Facts())
    assert fed(health, {NEAR: 0.2}, upto=3000) == [(2500, "collapse", False)]
    assert "samples do not differ yet" in health.verdicts()[0].sentence
    assert fed(Health(Facts()), {NEAR: 0.2}, upto=2000) == []


SHORT = {  # steps of the run, steps between lines, from which samples are alike -> the step of the verdict
    "300 steps of a slow network": (300, 50, 100, 200),
    "300 steps from the start": (300, 50, 0, 150),
    "logged every 500 steps": (5000, 500, 2500, 3500),
    "1500 steps, logged every 500": (1500, 500, 500, 1500),
    "logged every 1000 steps": (5000, 1000, 2000, 4000),
    "a long run": (100_000, 100, 50_000, 50_500),
}


@pytest.mark.parametrize(("length", "every", "alike", "expected"), SHORT.values(), ids=SHORT)
def test_the_rule_of_collapse_scales_with_the_run(length: int, every: int, alike: int, expected: int):
    health, said = Health(Facts()), []
    for step in range(every, length + 1, every):
        values = WELL | {NEAR: 0.6 if step <= alike else 0.1}
        said += [(step, verdict.name) for verdict in health.judge(step, values, length)]
    assert said == [(expected, "collapse")]


def test_at_the_end_of_a_run_samples_that_are_alike_count_at_once():
    health = Health(Facts())
    assert fed(health, {NEAR: 0.6}, upto=500) == []
    health.conclude(510, WELL | {NEAR: 0.5})
    assert health.verdicts() == []
    health.conclude(510, WELL | {NEAR: 0.1})
    assert [verdict.name for verdict in health.verdicts()] == ["collapse"]


def speckled(copies: int, noise: float) -> Tensor:
    """Digits of a collapsed generator: a few images, repeated with different noise in single pixels."""
    real = make_run(*SMALL, "train.batch_size=64").probe.real[0].images
    large = torch.nn.functional.interpolate(real, size=28, mode="bilinear")
    return large[torch.arange(64) % copies] + noise * torch.randn(64, 1, 28, 28)


@pytest.mark.parametrize(
    ("copies", "noise", "collapsed"), [(1, 0.2, True), (4, 0.2, True), (64, 0.2, False), (64, 0.0, False)]
)
def test_copies_that_differ_by_noise_in_single_pixels_are_copies(copies: int, noise: float, collapsed: bool):
    plain = neighbour_distances(smoothed(speckled(64, 0.0))).median()
    ratio = neighbour_distances(smoothed(speckled(copies, noise))).median() / plain
    assert (ratio < 0.3) == collapsed


def test_of_single_steps_the_mean_counts():
    """A duplicate in every other step is a share of a half; of lines of fifty steps that is what they say."""
    told, said = Health(Facts()), []
    for step in range(1, 1001):
        said += told.judge(step, WELL | {"health/near_duplicates": float(step % 2)})
    assert [verdict.name for verdict in said] == ["collapse"]
    assert "50 % near-duplicates" in said[0].sentence


def test_a_gradient_is_measured_against_its_own_beginning():
    """Starting at 1.0: 1e-5 is vanished, 1e3 is exploded; values slightly within are neither."""
    tag = "grad_norm/generator"
    for value, said in ((1e-5, ["no_gradient"]), (2e-5, []), (1.1e3, ["explosion"]), (0.9e3, [])):
        told = Health(Facts())
        assert fed(told, {tag: 1.0}, upto=150) == []
        assert [name for _, name, _ in fed(told, {tag: value}, upto=1500, start=150)] == said


def test_the_generators_loss_may_rise_under_wgan_which_is_said_once_and_is_no_alarm():
    told, said = Health(Facts()), []
    for step in range(50, 3001, 50):
        rising = step / 1000 if step <= 2000 else 2.0
        said += told.judge(step, WELL | {"wasserstein/estimate": 1.0, "loss/generator": rising})
    assert [(verdict.name, verdict.alarm, verdict.over) for verdict in said] == [
        ("rising", False, False),
        ("rising", False, True),
    ]
    assert "normal for WGAN: read wasserstein/estimate" in str(said[0])
    falls, flat = Health(Facts()), Health(Facts())
    for step in range(50, 3001, 50):
        assert falls.judge(step, WELL | {"wasserstein/estimate": 1.0, "loss/generator": -step / 1000}) == []
        assert flat.judge(step, WELL | {"wasserstein/estimate": 1.0, "loss/generator": step / 9000}) == []


def test_numbers_that_are_not_finite_are_left_out():
    """Under fp16 a norm can overflow, which the scaler handles."""
    told = Health(Facts())
    assert fed(told, {"grad_norm/generator": float("inf"), "score/gap": float("nan")}, upto=2000) == []
    assert json.dumps(told.state_dict(), allow_nan=False)


def test_advice_names_other_values_of_settings():
    (won,) = stands({"accuracy/real": 1.0, "accuracy/fake": 1.0}, Facts(sign_decides=True))
    assert "optimizer.discriminator.lr=5e-05" in won.sentence
    (held,) = stands({"health/separation": -2.0, "lr/discriminator": 0.0}, Facts())
    assert "optimizer.discriminator.lr is 0" in held.sentence
    (plain,) = stands({"health/overfitting": 2.0}, Facts())
    (augmented,) = stands({"health/overfitting": 2.0}, Facts(augmented=True))
    assert "augment=ada" in plain.sentence
    assert "augment=" not in augmented.sentence


def stands(values: dict[str, float], facts: Facts) -> list[Verdict]:
    told = Health(facts)
    fed(told, values, upto=1000)
    return told.verdicts()


@pytest.mark.parametrize("case", CASES)
def test_every_override_that_a_verdict_names_exists(case: str):
    name, facts, holds, _ = CASES[case]
    (verdict,) = stands(holds, facts)
    assert verdict.name == name
    overrides = re.findall(r"((?:loss|optimizer|augment|model|train)(?:\.\w+)*=[\w.+-]*\w)", verdict.sentence)
    for override in overrides:
        where = ("loss=wgan_gp",) if "penalties" in override else ()
        configure(*where, override)
    assert overrides or "larger" in verdict.sentence


# ---- state


def lines_of_trouble() -> list[tuple[int, dict[str, float]]]:
    """Each case for 1200 steps, then healthy values, with a line every 50 steps."""
    troubles = itertools.chain.from_iterable(([holds] * 24 + [{}] * 24) for _, _, holds, _ in CASES.values())
    return [(50 * (n + 1), WELL | values) for n, values in enumerate(troubles)]


@pytest.mark.parametrize("cut", range(7, 700, 97))
def test_a_state_carries_every_verdict_on(cut: int):
    facts = Facts(sign_decides=True, centers={"gradient": 1.0})
    lines = lines_of_trouble()
    whole, first, second = Health(facts), Health(facts), Health(facts)
    said = [verdict for line in lines for verdict in whole.judge(*line)]
    again = [verdict for line in lines[:cut] for verdict in first.judge(*line)]
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.verdicts() == first.verdicts()
    again += [verdict for line in lines[cut:] for verdict in second.judge(*line)]
    assert again == said
    assert len(said) > 20
    assert second.state_dict() == whole.state_dict()


def test_a_state_stays_small_and_is_loaded_strictly():
    told = Health(Facts(sign_decides=True))
    sizes = []
    for step in range(1, 4001):
        told.judge(step, WELL)
        state = told.state_dict()
        sizes.append((len(state["pending"]), len(state["lines"]), len(state["first"]), len(state["streaks"])))
    assert max(sizes[:1000]) == max(sizes)
    assert [max(part) for part in zip(*sizes, strict=True)] == [49, 11, 3, 0]
    for wrong in ({"lines": []}, {**told.state_dict(), "more": 1}, {**told.state_dict(), "streaks": {"luck": [0, 1]}}):
        with pytest.raises(KeyError, match="health"):
            told.load_state_dict(wrong)


# ---- what is measured


def test_spread_and_neighbours_are_those_of_the_images():
    images = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]).view(4, 2, 1, 1)
    assert_close(neighbour_distances(images), torch.tensor([0.0, 0.0, 5.0, 5.0], dtype=torch.float64))
    first, second = (torch.tensor(v).std(correction=0) for v in ([0.0, 0, 3, 6], [0.0, 0, 4, 8]))
    assert_close(deviation(images), (first + second) / 2)


def test_scores_are_compared_in_their_own_deviations():
    drawn = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    assert standardised(5 * drawn + 10, 5 * drawn).item() == pytest.approx(2, abs=0.02)
    assert standardised(drawn, drawn).item() == 0
    assert standardised(torch.ones(4), torch.ones(4)).item() == 0


def copies(run: Run, share: float) -> None:
    """Makes the generator repeat that share of a batch, whatever its noise."""
    generator, made = run.generator.network, type(run.generator.network).forward

    def forward(z: Tensor, labels: Tensor | None = None) -> Tensor:
        images = made(generator, z, labels)
        count = round(share * len(images))
        return torch.cat([images[:1].expand(count, *images.shape[1:]), images[count:]])

    generator.forward = forward


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_near_duplicates_are_the_share_that_repeats(share: float):
    run = make_run(*SMALL, "train.generator_batch_size=64", "train.batch_size=64")
    copies(run, share)
    assert run.measure({})["health/near_duplicates"] == pytest.approx(share, abs=0.02)


def test_a_generator_of_real_images_has_their_spread_and_few_neighbours():
    """The generator replays images that are not in the reference."""
    run = make_run(*SMALL, "train.batch_size=64")
    other = run.real.decode(run.real.images[:640]).split(64)
    shown = iter(other)
    run.generator.network.forward = lambda z, labels=None: next(shown)
    values = [run.measure({}) for _ in range(5)]
    assert sum(v["health/sample_std_ratio"] for v in values) / 5 == pytest.approx(1, abs=0.05)
    assert all(v["health/near_duplicates"] == 0 for v in values)


def test_weights_are_compared_with_their_bound_their_average_and_their_start():
    run = make_run(*SMALL, "loss=wgan")
    start = nn.utils.get_total_norm(list(run.discriminator.network.parameters()))
    steps(run, 3)
    values = run.measure({"grad_norm/generator": 3.0, "grad_norm/discriminator": 2.0})
    flat = torch.cat([p.flatten() for p in run.discriminator.network.parameters()])
    at_bound = (flat.abs() == flat.abs().max()).float().mean()
    assert values["health/clipped_weights"] == pytest.approx(at_bound.item())
    assert 0.05 < at_bound < 0.95
    assert values["health/weight_growth/discriminator"] == pytest.approx((flat.norm() / start).item())
    live, averaged = (
        torch.cat([p.flatten() for p in network.parameters()]) for network in (run.generator.network, run.ema.network)
    )
    assert values["health/ema_distance"] == pytest.approx(((averaged - live).norm() / live.norm()).item(), rel=1e-5)
    assert values["health/grad_norm_ratio"] == 1.5
    assert "health/ema_distance" not in make_run(*SMALL, "train.ema_half_life_images=0").measure({})
    assert "health/clipped_weights" not in make_run(*SMALL).measure({})


LIVELY = {
    "batch norm and dropout": ("loss=gan", "model.generator.dropout=0.5", "model.discriminator.dropout=0.3"),
    "spectral norm": ("loss=wgan_gp", SPECTRAL),
    "augmentation and noise on the images": ("loss=hinge", "augment=ada", "loss.instance_noise=0.1"),
    "labels in both": ("loss=acgan", "model.generator.conditioning=one_hot"),
    "few labels": ("loss=semi_supervised", "dataset.labels_per_class=2"),
    "bf16": ("loss=r3gan", "device.precision=bf16"),
}


@pytest.mark.parametrize("overrides", LIVELY.values(), ids=LIVELY)
def test_measuring_repeats_and_does_not_disturb_training(overrides: tuple[str, ...]):
    looked, undisturbed = make_run(*SMALL, *overrides), make_run(*SMALL, *overrides)
    for _ in range(3):
        looked.step()
        assert looked.measure({}) == looked.measure({})
        undisturbed.step()
    assert all(torch.tensor(list(looked.measure({}).values())).isfinite())
    assert_close(weights(looked), weights(undisturbed), rtol=0, atol=0)


def test_a_single_held_out_image_is_enough():
    few = ("dataset=synthetic", "dataset.count=10", "model.discriminator.norm=batch", "train.batch_size=4", *SMALL[:2])
    run = make_run(*few, "device=cpu", "loss=gan")
    assert run.dataset.splits["validation"] == 1
    assert 0 <= run.measure({})["health/accuracy_held_out"] <= 1


def test_other_data_are_measured_as_well():
    ring = make_run("experiment=ring8", *SMALL[:2], "train.batch_size=16", "device=cpu")
    assert {"health/near_duplicates", "health/sample_std_ratio", "health/overfitting"} <= ring.measure({}).keys()
    dirac = make_run("experiment=dirac", "device=cpu")
    dirac.step()
    assert "health/sample_std_ratio" not in dirac.measure({})  # the real points are one
    unsplit = make_run(*SMALL, "~dataset", "+dataset._target_=tests.game.test_algorithm.Unsplit")
    assert not {"health/overfitting", "health/accuracy_held_out"} & unsplit.measure({}).keys()


# ---- runs that were made to fail


def judged(run: Run, total: int) -> list[Verdict]:
    """Trains as a session does, and returns what was reported."""
    return [verdict for line in lines_of(run, total) for verdict in run.health.judge(*line)]


def replayed(case: Recorded) -> list[Verdict]:
    health = Health(case.facts)
    return [verdict for line in case.lines for verdict in health.judge(*line)]


class Constant(nn.Module):
    """One image, whatever the noise."""

    def __init__(self, spec, latent):
        super().__init__()
        self.shape, self.unused = spec.shape, nn.Parameter(torch.zeros(1))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.zeros(len(z), *self.shape) + 0 * self.unused


class FlippedDiscriminator(NonSaturating):
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return super().discriminator(-real, -fake)


class FlippedGenerator(NonSaturating):
    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return super().generator(-fake, real)


class FlippedEstimate(Wasserstein):
    """Both losses have the opposite sign, and the estimate is minus a distance."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return real.mean() - fake.mean()


def constant() -> list[str]:
    removed = [f"~model.generator.{key}" for key in configure()["model"]["generator"] if key != "_target_"]
    return ["model.generator._target_=tests.health.test_health.Constant", *removed]


HERE = "loss.adversarial._target_=tests.health.test_health"
FAST = ("optimizer.generator.lr=2e-3", "optimizer.discriminator.lr=2e-3")
STRONG = ("model.discriminator.widths=[64,64]", "model.discriminator.norm=none")
NOISES = ("~dataset", "+dataset._target_=tests.game.test_algorithm.Noises", "train.batch_size=32")
NORM = "model.discriminator.norm=batch"  # without it networks as small as these are not well, or fail otherwise
FAILING = {
    "a generator that answers nothing": (("loss=gan", *constant()), {"no_gradient", "collapse"}),
    "a generator without noise": (
        *[("loss=hinge", "model.latent.distribution=uniform", "model.latent.low=0", "model.latent.high=0")],
        {"collapse"},
    ),
    "a discriminator that does not learn": (
        ("loss=r3gan", "optimizer.generator.lr=2e-3", "optimizer.discriminator.lr=0"),
        {"generator_won"},
    ),
    "a critic that does not learn": (
        ("loss=wgan_gp", "loss.n_critic=1", "optimizer.generator.lr=1e-3", "optimizer.discriminator.lr=0"),
        {"generator_won", "negative_estimate"},
    ),
    "a generator that does not learn": (
        ("loss=gan", "optimizer.generator.lr=0", "optimizer.discriminator.lr=5e-3", *STRONG),
        {"discriminator_won"},
    ),
    "a learning rate without measure": (("loss=hinge", "optimizer.lr=10"), {"explosion"}),
    "the wrong sign in the discriminator's loss": (
        ("loss=gan", *FAST, f"{HERE}.FlippedDiscriminator"),
        {"generator_won"},
    ),
    "the wrong sign in the generator's loss": (
        ("loss=gan", *FAST, *STRONG, f"{HERE}.FlippedGenerator"),
        {"discriminator_won"},
    ),
    "the wrong sign in a critic's loss": (
        ("loss=wgan_gp", "loss.n_critic=1", *FAST, f"{HERE}.FlippedEstimate"),
        {"generator_won"},
    ),
    "weights that are clipped at once": (
        ("loss=wgan", "loss.n_critic=1", "loss.constraint.bound=1e-4", NORM),
        {"piled_up"},
    ),
    "a penalty without weight": (
        ("loss=wgan_gp", "loss.n_critic=1", "loss.penalties.gradient.weight=1e-6", *FAST),
        {"off_center"},
    ),
    "32 images of noise, learned by heart": (
        (*NOISES, "loss=gan", "model.discriminator.widths=[128]", *FAST),
        {"learned_by_heart"},
    ),
}


def failing(case: str) -> tuple[str, ...]:
    """All overrides of that run."""
    overrides, _ = FAILING[case]
    own = [setting.split("=")[0] for setting in overrides]
    replaced = [o for o in SMALL if o.split("=")[0] not in own]
    if "tests.health.test_health.Constant" in " ".join(overrides):
        replaced.remove(SMALL[0])
    return (*replaced, *overrides)


@pytest.mark.parametrize("case", some({name: name for name in FAILING}, ["a generator that answers nothing"]))
def test_a_run_that_was_made_to_fail_is_told_so(case: str):
    said = judged(make_run(*failing(case)), 1050)
    assert FAILING[case][1] <= {verdict.name for verdict in said if verdict.alarm}, said


@pytest.mark.parametrize("case", FAILING)
def test_the_recorded_lines_of_a_failing_run_give_its_alarms(case: str):
    said = replayed(recorded("failing")[case])
    assert FAILING[case][1] <= {verdict.name for verdict in said if verdict.alarm}, said


@pytest.mark.long
def test_a_generator_that_died_is_told_so():
    run = make_run(*SMALL, "loss=gan")
    with torch.no_grad():
        for parameter in run.generator.network.parameters():
            parameter.zero_()
    assert "collapse" in {verdict.name for verdict in judged(run, 550)}


RING = ("experiment=ring8", "model.generator.widths=[64,64]", "model.discriminator.widths=[64,64]", "device=cpu")
HEALTHY = {
    "gan": (*SMALL, "loss=gan"),
    "hinge": (*SMALL, "loss=hinge"),
    "lsgan": (*SMALL, "loss=lsgan"),
    "r3gan": (*SMALL, "loss=r3gan"),
    "few labels": (*SMALL, "loss=semi_supervised", "dataset.labels_per_class=10", NORM),
    "ring8": (*RING, "loss=gan", "train.batch_size=64"),
    "an autoencoder": (*SMALL, "loss=ebgan", NORM),
}
SLOWER = {
    "wgan": (*SMALL, "loss=wgan", NORM),
    "wgan_gp": (*SMALL, "loss=wgan_gp"),
    "dragan": (*SMALL, "loss=dragan"),
    "ring8 and wgan_gp": (*RING, "loss=wgan_gp", "train.batch_size=64"),
}


@pytest.mark.long
@pytest.mark.parametrize("overrides", some(HEALTHY | SLOWER, ["ring8"]))
def test_a_healthy_run_is_told_no_alarm(overrides: tuple[str, ...]):
    run = make_run(*overrides)
    assert [str(verdict) for verdict in judged(run, 1500) if verdict.alarm] == []


@pytest.mark.parametrize("case", HEALTHY | SLOWER)
def test_the_recorded_lines_of_a_healthy_run_give_no_alarm(case: str):
    replay = recorded("healthy")[case]
    assert [step for step, _ in replay.lines] == list(range(50, 1501, 50))
    assert [str(verdict) for verdict in replayed(replay) if verdict.alarm] == []


# ---- where they are said


@pytest.mark.parametrize("stop", some({f"at {step}": step for step in (350, 520, 760)}, ["at 520"]))
def test_verdicts_are_in_the_log_in_tensorboard_and_in_the_summary(tmp_path: Path, caplog, stop: int):
    """Also for an interrupted run. Samples that never differed have half of the run, which was shorter at first."""
    begins = {350: 200, 520: 300, 760: 400}[stop]
    caplog.set_level(logging.INFO, "gan_runner")
    dead = ("model.latent.distribution=uniform", "model.latent.low=0", "model.latent.high=0", "optimizer.lr=1e-4")
    overrides = (*SMALL, *dead, "train.log_every=50", "train.sample_every=1000", "train.checkpoint_every=1000")
    train_in(tmp_path / "run", *overrides, f"train.total_steps={stop}")
    folder = train_in(tmp_path / "run", *overrides, "train.total_steps=800")
    (verdict,) = (verdict for verdict in folder.read_summary()["verdicts"] if verdict["name"] == "collapse")
    assert (verdict["kind"], verdict["since"]) == ("alarm", 0)
    said = [record for record in caplog.records if "samples collapse" in record.getMessage()]
    assert [(record.levelname, record.getMessage()) for record in said] == [
        ("WARNING", f"step {begins}  alarm: {verdict['sentence']}"),
        *[("WARNING", f"  alarm: {verdict['sentence']}")] * 2,  # in the last lines of either run
    ]
    events = EventAccumulator(str(folder.path), size_guidance={"tensors": 0}).Reload().Tensors("verdict/text_summary")
    texts = [(event.step, event.tensor_proto.string_val[0].decode()) for event in events]
    assert [step for step, text in texts if verdict["sentence"] in text] == [begins]


def test_held_out_images_are_those_of_the_validation_split():
    run = make_run(*SMALL)
    of_split = {
        name: {image.numpy().tobytes() for image in run.dataset.decode(run.dataset.split(name).images)}
        for name in ("train", "validation")
    }
    shown = {
        name: {image.numpy().tobytes() for batch in batches for image in batch.images}
        for name, batches in (("train", run.probe.real), ("validation", run.probe.held_out))
    }
    for name, images in shown.items():
        assert images
        assert images <= of_split[name]
    assert not shown["validation"] & of_split["train"]
