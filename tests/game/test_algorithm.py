"""The training step, compared with theory and with interrupted runs."""

import copy
import itertools
import math
from collections.abc import Container, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.dataset.images import ImageDataset
from gan_runner.errors import ConfigError
from gan_runner.loss.constraint import SpectralNorm
from gan_runner.protocols import Stateful
from gan_runner.schedule import Progress
from gan_runner.spec import Batch
from gan_runner.training.run import Run
from gan_runner.training.showcase import fixed_samples
from tests.conftest import CORE, CPUS, GPUS, LOSSES, SMALL, configure, make_run, on, some, weights


def steps(run: Run, count: int) -> Run:
    for _ in range(count):
        run.meter.add(run.step())
    return run


SPECTRAL = "loss.constraint={_target_: gan_runner.loss.constraint.SpectralNorm}"
CONVOLUTIONS = ("model=dcgan", "model.generator.width=4", "model.discriminator.width=4", *SMALL[2:])
# Published networks, made small where that is a setting; each with another loss.
SYNTHETIC = ("dataset=synthetic", "dataset.count=64", "train.batch_size=4", "device=cpu")
THIN = tuple(f"model.{player}.width=8" for player in ("generator", "discriminator"))
GROUPED = tuple(f"model.{player}.groups=4" for player in ("generator", "discriminator"))


def attending(generator: int, discriminator: int) -> tuple[str, str]:
    return f"model.generator.attention={generator}", f"model.discriminator.attention={discriminator}"


PUBLISHED = {
    "mlp_2014 and minimax": ("model=mlp_2014", "loss=minimax"),
    "mlp_keras and gan": ("model=mlp_keras", "loss=gan"),
    "mlp_small and wgan_gp": ("model=mlp_small", "loss=wgan_gp"),
    "sngan_cnn and sngan": ("model=sngan_cnn", "loss=sngan"),
    "dcgan_wgan_gp and wgan_gp": ("model=dcgan_wgan_gp", "loss=wgan_gp"),
    "resnet and wgan_gp": ("model=resnet", "loss=wgan_gp", "model.discriminator.norm=none", *THIN),
    "resnet and hinge": ("model=resnet", "loss=hinge", *THIN),
    "resnet, sngan and spectral self-attention": (
        *("model=resnet", "loss=sngan", "model.weights.generator=spectral"),
        *(*THIN, *attending(16, 8)),
    ),
    "resnet, wgan_gp and self-attention": ("model=resnet", "loss=wgan_gp", *THIN, *attending(8, 16)),
    "dcgan, wgan_gp and self-attention": ("model=dcgan", "loss=wgan_gp", *THIN, *attending(16, 8)),
    "r3gan and r3gan": ("model=r3gan_small", "loss=r3gan", *THIN, *GROUPED),
    "ssl_mlp and semi_supervised": ("model=ssl_mlp", "loss=semi_supervised", "dataset.labels_per_class=2"),
    "ssl_mlp and semi_supervised_odena": ("model=ssl_mlp", "loss=semi_supervised_odena"),
    "ssl_mlp and r3gan": ("model=ssl_mlp", "loss=r3gan"),
    "ssl_cnn and semi_supervised": ("model=ssl_cnn", "loss=semi_supervised"),
    "r3gan and gan": ("model=r3gan_small", "loss=gan", *THIN, *GROUPED),
}


def told(generator: str, discriminator: str) -> tuple[str, str]:
    return f"model.generator.conditioning={generator}", f"model.discriminator.conditioning={discriminator}"


def normalised(kind: str) -> tuple[str, str]:
    return f"model.weights.generator={kind}", f"model.weights.discriminator={kind}"


CONDITIONAL = {
    "mlp, one_hot and wgan_gp": ("model=mlp", "loss=wgan_gp", *told("one_hot", "one_hot")),
    "mlp, norm, projection and r3gan": ("model=mlp", "loss=r3gan", *told("norm", "projection")),
    "dcgan, embedding and hinge": ("model=dcgan", "loss=hinge", *THIN, *told("embedding", "embedding")),
    "dcgan, norm, classifier and acgan": ("model=dcgan", "loss=acgan", *THIN, *told("norm", "classifier")),
    "mlp_2014, one_hot, projection and gan": ("model=mlp_2014", "loss=gan", *told("one_hot", "projection")),
    "mlp_mirza and gan": ("model=mlp_mirza", "loss=gan"),
    "mlp_keras, norm, one_hot and gan": ("model=mlp_keras", "loss=gan", *told("norm", "one_hot")),
    "mlp_small, embedding, projection and r3gan": ("model=mlp_small", "loss=r3gan", *told("embedding", "projection")),
    "dcgan_wgan_gp, one_hot and wgan_gp": ("model=dcgan_wgan_gp", "loss=wgan_gp", *told("one_hot", "embedding")),
    "resnet, norm, projection and sngan": ("model=resnet", "loss=sngan", *THIN, *told("norm", "projection")),
    "resnet, one_hot, classifier and acgan": ("model=resnet", "loss=acgan", *THIN, *told("one_hot", "classifier")),
    "r3gan, embedding, projection and r3gan": (
        *("model=r3gan_small", "loss=r3gan", *THIN, *GROUPED),
        *told("embedding", "projection"),
    ),
}
BESIDE_THE_PAIRS = (  # what no network and loss of tests/test_pairs.py has
    "resnet, sngan and spectral self-attention",
    "dcgan, wgan_gp and self-attention",
    "ssl_mlp and semi_supervised",
    "dcgan, norm, classifier and acgan",
)
PAIRS = {
    **{f"mlp and {loss}": (*SMALL, f"loss={loss}") for loss in LOSSES},
    **{f"dcgan and {loss}": (*CONVOLUTIONS, f"loss={loss}") for loss in LOSSES},
    "dcgan, gan and spectral norm": (*CONVOLUTIONS, SPECTRAL, "model.discriminator.norm=none"),
    "mlp, wgan_gp and spectral norm": (*SMALL, "loss=wgan_gp", SPECTRAL),
    "dcgan, wgan_gp and spectral norm of both": (*CONVOLUTIONS, "loss=wgan_gp", *normalised("spectral")),
    "mlp, gan and weight norm of both": (*SMALL, "loss=gan", *normalised("weight")),
    "mlp, gan and minibatch discrimination": (*SMALL, "loss=gan", "model.discriminator.minibatch=discrimination"),
    "dcgan, hinge and minibatch deviation": (*CONVOLUTIONS, "loss=hinge", "model.discriminator.minibatch=stddev"),
    "dcgan in channels_last": (*CONVOLUTIONS, "loss=wgan_gp", "device.channels_last=true"),
}


def in_turn(names: Iterable[str], in_all: Container[str]) -> list[Any]:
    """Pairs (name, device): each name with one CPU precision in turn, some with all; the others are long."""
    found = []
    for number, name in enumerate(names):
        for place, device in enumerate(on(CPUS | GPUS)):
            fast = name in in_all or device.id in GPUS or place == number % len(CPUS)
            marks = [*device.marks, *[pytest.mark.long] * (not fast)]
            found.append(pytest.param(name, *device.values, id=f"{name}-{device.id}", marks=marks))
    return found


@pytest.mark.parametrize(("pair", "device"), in_turn(PAIRS, [f"mlp and {loss}" for loss in CORE]))
def test_every_model_trains_with_every_loss_and_resumes(pair: str, device: tuple[str, ...]):
    check_two_steps(*PAIRS[pair], *device)


@pytest.mark.parametrize("device", on({n: o for n, o in (CPUS | GPUS).items() if n not in ("fp16", "fp32")}))
@pytest.mark.parametrize("pair", some({name: name for name in PUBLISHED | CONDITIONAL}, BESIDE_THE_PAIRS))
def test_a_published_or_conditional_network_trains_and_resumes(pair: str, device: tuple[str, ...]):
    check_two_steps(*SYNTHETIC, *(PUBLISHED | CONDITIONAL)[pair], *device)


def check_two_steps(*overrides: str) -> None:
    """2 steps: both networks move and stay finite; the second, from the state of the first, is the same bit for bit."""
    run = make_run(*overrides)
    before = weights(run)
    first = copy.deepcopy(steps(run, 1).state())
    after = weights(steps(run, 1))
    overflowed = any(run.observe().get(f"scale/{name}", 2.0**16) < 2.0**16 for name in ("generator", "discriminator"))
    for name, value in after.items():
        assert value.isfinite().all()
        if name.endswith("weight") and value.dim() >= 2 and not overflowed:
            assert not torch.equal(value, before[name]), name
    assert all(p.dtype == torch.float32 for p in run.generator.network.parameters())
    second = make_run(*overrides)
    second.load_state(first)
    assert_close(weights(steps(second, 1)), after, rtol=0, atol=0)


@pytest.mark.parametrize(("loss", "device"), in_turn(CORE, ()))
@pytest.mark.parametrize("k", [1, pytest.param(4, marks=pytest.mark.long)])
def test_a_state_carries_everything_on(loss: str, device: tuple[str, ...], k: int):
    """5 steps = k + (5 - k), bit for bit, weights, optimizers and meter."""
    overrides = (*SMALL, f"loss={loss}", *device, "model.discriminator.dropout=0.2")
    straight = steps(make_run(*overrides), 5)
    first = steps(make_run(*overrides), k)
    second = make_run(*overrides)
    second.load_state(copy.deepcopy(first.state()))
    steps(second, 5 - k)
    assert second.clock.steps == 5
    assert second.clock.images == straight.clock.images
    assert_close(weights(second), weights(straight), rtol=0, atol=0)
    assert second.meter.read() == straight.meter.read()
    assert_close(second.state()["generator"], straight.state()["generator"], rtol=0, atol=0)


# Plain gradient steps: Adam and RMSprop blow the rounding of a vanishing gradient up to the size of a step.
SGD = ("optimizer=sgd", "optimizer.lr=0.05")


WITH_BATCH_STATISTICS = ("began", "dragan", "rahinge", "ralsgan", "rasgan", "semi_supervised")


@pytest.mark.parametrize("loss", WITH_BATCH_STATISTICS)
def test_a_loss_of_the_whole_batch_is_not_computed_in_parts(loss: str):
    with pytest.raises(ConfigError, match=r"train.accumulate must be 1"):
        make_run(*SMALL, f"loss={loss}", "train.accumulate=2")


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss not in WITH_BATCH_STATISTICS])
def test_two_parts_are_one_batch_where_no_layer_couples_it(loss: str):
    """Without spectral norm, whose power iteration takes a step in each forward; the sixth power needs small steps."""
    free = ["model.generator.norm=none", "model.discriminator.norm=layer", "model.generator.dropout=0", *SGD]
    free += ["loss.constraint=null"] * (loss in ("rsgan", "sngan"))
    free += ["optimizer.lr=1e-4"] * (loss in ("wgan_div", "acgan_wgan_gp"))
    whole = steps(make_run(*SMALL, f"loss={loss}", *free), 3)
    parts = steps(make_run(*SMALL, f"loss={loss}", *free, "train.accumulate=2"), 3)
    assert_close(weights(parts), weights(whole), rtol=1e-5, atol=1e-6)
    for tag, value in whole.meter.read().items():
        assert parts.meter.read()[tag] == pytest.approx(value, rel=1e-3, abs=1e-5), tag


def test_the_generator_may_have_a_batch_of_its_own():
    run, sizes = make_run(*SMALL, "train.generator_batch_size=48", "train.batch_size=16"), []
    run.generator.network.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    run.step()
    assert sizes == [16, 48]


def test_the_discriminators_step_builds_no_graph_of_the_generator():
    run, fakes = make_run(*SMALL, "loss=wgan_gp"), []
    run.generator.network.register_forward_hook(lambda module, inputs, output: fakes.append(output.requires_grad))
    run.step()
    assert fakes == [False, True]  # those of its five updates, made at once, and the generator's own


def test_a_player_that_is_held_does_not_move():
    run = make_run(*SMALL, "optimizer.generator.lr=0")
    before = {name: p.clone() for name, p in run.generator.network.named_parameters()}
    steps(run, 2)
    assert_close(before, dict(run.generator.network.named_parameters()), rtol=0, atol=0)


def test_weight_clipping_holds_after_every_step():
    run = steps(make_run(*SMALL, "loss=wgan"), 2)
    assert max(p.abs().max().item() for p in run.discriminator.network.parameters()) <= 0.01 + 1e-9


RAMP = "{_target_: gan_runner.schedule.Schedule, shape: linear, start: 0.5, end: 0.7, steps: 4}"


def test_settings_of_an_optimizer_may_change_as_training_goes_on():
    run = make_run(*SMALL, "optimizer=sgd", f"optimizer.momentum={RAMP}")
    seen = []
    for _ in range(6):
        run.step()
        groups = [player.optimizer.param_groups[0]["momentum"] for player in (run.generator, run.discriminator)]
        seen.append((*groups, run.observe()["schedule/momentum/discriminator"]))
    assert [values[0] for values in seen] == pytest.approx([0.5, 0.55, 0.6, 0.65, 0.7, 0.7])
    assert all(len(set(values)) == 1 for values in seen)


def test_one_of_two_betas_may_change():
    overrides = (*SMALL, f"optimizer.betas=[0.0,{RAMP}]")
    run = steps(make_run(*overrides), 3)
    assert run.discriminator.optimizer.param_groups[0]["betas"] == [0.0, pytest.approx(0.6)]
    assert run.schedules.by_setting().keys() >= {"optimizer.generator.betas.1", "optimizer.discriminator.betas.1"}
    again = make_run(*overrides)
    again.load_state(copy.deepcopy(steps(make_run(*overrides), 2).state()))
    assert_close(weights(steps(again, 1)), weights(run), rtol=0, atol=0)


def test_the_average_may_begin_short_and_grow():
    run = make_run(*SMALL, f"train.ema_half_life_images={RAMP}")
    run.step()
    assert run.observe()["schedule/ema_half_life_images"] == 0.5
    assert "train.ema_half_life_images" in run.schedules.by_setting()


WRONG = {
    "a schedule of the learning rate": (f"optimizer.generator.lr={RAMP}", "optimizer.schedule multiplies it"),
    "no schedule": ("optimizer.betas=[0.5,{_target_: torch.nn.ReLU}]", "should be a number, or a schedule"),
    "a schedule with a typo": (f"optimizer.betas=[0.5,{RAMP.replace('steps', 'step')}]", "has no setting 'step'"),
    "an average by name": ("train.ema_half_life_images=long", "ema_half_life_images"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_schedule_is_refused(case: str):
    override, sentence = WRONG[case]
    with pytest.raises(ConfigError, match=sentence):
        make_run(*SMALL, override)


def test_the_discriminator_may_be_trained_alone_first():
    run, moves = make_run(*SMALL, "train.discriminator_warmup_steps=7", "loss.n_critic=2"), []
    for player in (run.generator, run.discriminator):
        player.optimizer.register_step_post_hook(lambda *_, name=player.name: moves.append(name[0]))
    steps(run, 2)
    assert "".join(moves) == "d" * 9 + "g" + "ddg"
    assert run.clock.images == 11 * 16
    resumed = make_run(*SMALL, "train.discriminator_warmup_steps=7", "loss.n_critic=2")
    resumed.load_state(copy.deepcopy(run.state()))
    assert_close(weights(steps(resumed, 1)), weights(steps(run, 1)), rtol=0, atol=0)


def test_images_are_counted_from_the_steps():
    run = make_run(*SMALL, "loss=wgan", "loss.n_critic_burst=7")
    steps(run, 26)
    assert run.clock.images == (25 * 7 + 5) * 16


def test_a_length_in_images_is_the_first_step_that_reaches_it():
    run = make_run(*SMALL, "loss=wgan_gp", "train.total_steps=null", "train.total_images=1000")
    assert run.clock.length == 13  # 13 * 5 * 16 = 1040
    while run.clock.progress() < 1:
        run.step()
    assert run.clock.steps == 13


class Conditional(nn.Module):
    """A user's generator that needs labels."""

    def __init__(self, spec, latent):
        super().__init__()
        self.spec, self.seen = spec, []
        self.layer = nn.Linear(latent.dim, spec.size)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        self.seen.append(labels)
        return self.layer(z).tanh().unflatten(1, self.spec.shape)


def test_fakes_take_the_labels_of_the_real_batch():
    overrides = [o for o in SMALL if "generator.widths" not in o]
    removed = [f"~model.generator.{key}" for key in configure()["model"]["generator"] if key != "_target_"]
    run = make_run(*overrides, "model.generator._target_=tests.game.test_algorithm.Conditional", *removed)
    shown: list[Batch] = []
    stream = run.batches.for_discriminator
    run.batches.for_discriminator = iter(lambda: shown.append(next(stream)) or shown[-1], None)
    run.step()
    for_discriminator, for_generator = run.generator.network.seen[-2:]
    assert torch.equal(for_discriminator, shown[0].labels)
    assert for_generator.shape == (16,)


@pytest.mark.parametrize("loss", CORE)
def test_seeds_differ_and_repeat(loss: str):
    one, again, other = (steps(make_run(*SMALL, f"loss={loss}", f"seed={seed}"), 2) for seed in (0, 0, 1))
    assert_close(weights(one), weights(again), rtol=0, atol=0)
    assert not torch.equal(weights(one)["generator.layers.0.weight"], weights(other)["generator.layers.0.weight"])


@pytest.mark.parametrize(
    ("override", "more"),
    [("loss=wgan_gp", set()), ("loss=semi_supervised", {"classifier"}), ("augment=ada", {"augment"})],
)
def test_whatever_has_state_is_part_of_the_state(override: str, more: set[str]):
    run = make_run(*SMALL, override)
    held = {**vars(run), **run.averages, "counters": run.clock}
    stateful = {name for name, value in held.items() if isinstance(value, Stateful)} - {"clock"}
    assert stateful == {"generator", "discriminator", "ema", "meter", "health", "selection", "counters"} | more
    assert stateful <= run.state().keys()
    beside = {**vars(run.algorithm), **vars(run.batches), **vars(run.graphs), **vars(run.schedules)}
    assert {name for name, value in beside.items() if isinstance(value, Stateful)} <= {"clock", "objective", "augment"}
    nested = {name for name, value in vars(run.objective).items() if isinstance(value, Stateful)}
    assert not nested


def test_a_state_of_other_parts_is_refused():
    run = make_run(*SMALL)
    state = run.state()
    with pytest.raises(KeyError, match="parts"):
        run.load_state({**state, "augmentation": {}})


def test_samples_repeat_and_do_not_disturb_training():
    sampled, undisturbed = make_run(*SMALL), make_run(*SMALL)
    steps(sampled, 2)
    pictures = [fixed_samples(sampled)[0] for _ in range(2)]
    assert torch.equal(*pictures)
    assert pictures[0].shape == (64, 1, 8, 8)
    assert_close(
        weights(steps(sampled, 2))["discriminator.layers.0.weight"],
        weights(steps(undisturbed, 4))["discriminator.layers.0.weight"],
        rtol=0,
        atol=0,
    )


WITH_BUFFERS = {
    "batch statistics": ("loss=wgan",),
    "spectral norm and dropout": ("loss=wgan_gp", "model.discriminator.dropout=0.5", SPECTRAL),
}


@pytest.mark.parametrize("overrides", WITH_BUFFERS.values(), ids=WITH_BUFFERS)
def test_looking_at_held_out_images_does_not_disturb_training(overrides: tuple[str, ...]):
    looked, undisturbed = (make_run(*SMALL, *overrides, "train.log_every=1") for _ in range(2))
    undisturbed.algorithm.discriminator.held_out.clear()
    assert "wasserstein/held_out" in steps(looked, 3).meter.read()
    assert "wasserstein/held_out" not in steps(undisturbed, 3).meter.read()
    assert_close(weights(looked), weights(undisturbed), rtol=0, atol=0)


@pytest.mark.parametrize("augment", ["none", "diffaugment"])
def test_the_held_out_estimate_is_that_of_the_same_moment(augment: str):
    """If the held-out images are the training images in the same order, both estimates are equal."""
    run = make_run(*SMALL, "loss=wgan_gp", "train.log_every=1", f"augment={augment}")
    shown: list[Batch] = []
    stream = run.batches.for_discriminator
    run.batches.for_discriminator = iter(lambda: shown.append(next(stream)) or shown[-1], None)
    for _ in range(3):
        run.algorithm.discriminator.held_out[:] = [
            next(run.batches.stream(16, run.clock.images + 4 * 16, "discriminator"))
        ]
        stats = run.step()
        assert torch.equal(run.algorithm.discriminator.held_out[0].images, shown[-1].images)
        assert_close(stats["wasserstein/held_out"], stats["wasserstein/estimate"])


class Noises(ImageDataset):
    """A few noise images for training, and others held out."""

    splits = {"train": 32, "validation": 32}  # noqa: RUF012

    def __init__(self) -> None:
        images = torch.randint(0, 256, (64, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        super().__init__(images, None, self.splits)


class Unsplit(Noises):
    splits = {"train": 64}  # noqa: RUF012


def test_the_held_out_estimate_tells_of_a_discriminator_that_learns_by_heart():
    noises = (
        "~dataset",
        "+dataset._target_=tests.game.test_algorithm.Noises",
        "train.batch_size=32",
        "train.log_every=1",
    )
    run = make_run("loss=wgan_gp", *noises, "device=cpu")
    steps(run, 60)
    values = run.meter.read()
    assert values["wasserstein/held_out"] < 0.7 * values["wasserstein/estimate"]


def test_nothing_is_held_out_without_a_validation_split():
    run = make_run(*SMALL, "loss=wgan_gp", "~dataset", "+dataset._target_=tests.game.test_algorithm.Unsplit")
    assert "wasserstein/held_out" not in run.step()


@pytest.mark.parametrize("device", on({n: o for n, o in (CPUS | GPUS).items() if "fp16" in n}))
def test_an_overflow_skips_the_update_and_halves_the_scale(device: tuple[str, ...]):
    run = make_run(*SMALL, "loss=wgan_gp", *device)
    run.discriminator.scaler = torch.amp.GradScaler(run.device.torch.type, init_scale=2.0**60)
    before = weights(run)
    steps(run, 1)
    after = weights(run)
    assert run.observe()["scale/discriminator"] == 2.0**55  # n_critic is 5
    assert torch.equal(after["discriminator.layers.0.weight"], before["discriminator.layers.0.weight"])
    assert not torch.equal(after["generator.layers.0.weight"], before["generator.layers.0.weight"])
    resumed = make_run(*SMALL, "loss=wgan_gp", *device)
    resumed.load_state(copy.deepcopy(run.state()))
    assert resumed.observe()["scale/discriminator"] == 2.0**55
    steps(run, 10)
    assert not torch.equal(weights(run)["discriminator.layers.0.weight"], before["discriminator.layers.0.weight"])
    assert all(value.isfinite().all() for value in weights(run).values())


@pytest.mark.parametrize("compiled", ["false", pytest.param("true", marks=pytest.mark.long)])
def test_the_penaltys_gradient_reaches_the_discriminator_and_never_the_generator(compiled: str):
    run = make_run(*SMALL, "loss=wgan_gp", f"device.compile={compiled}")
    network = run.discriminator.network
    run.step()
    run.discriminator.thaw(True)
    run.generator.thaw(True)
    real, noise = next(run.batches.for_discriminator), run.batches.noise("discriminator", 0, 16)
    fake = run.algorithm.discriminator.fakes(real, noise)
    assert fake.images.requires_grad
    penalty, _ = run.objective.penalty(network, real, fake, noise, 0, Progress(0, 100))
    penalty.backward()
    assert all(p.grad.abs().sum() > 0 for name, p in network.named_parameters() if name.endswith("weight"))
    assert all(p.grad is None for p in run.generator.network.parameters())


@pytest.mark.long
@pytest.mark.parametrize("loss", ["gan", "wgan_gp"])
def test_compilation_changes_numbers_only_in_rounding(loss: str):
    plain = steps(make_run(*SMALL, f"loss={loss}"), 2)
    compiled = steps(make_run(*SMALL, f"loss={loss}", "device.compile=true"), 2)
    assert compiled.generator.network._compiled_call_impl is not None
    read = compiled.meter.read()
    for tag, value in plain.meter.read().items():
        assert read[tag] == pytest.approx(value, rel=1e-3, abs=1e-4), tag


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.long)])
@pytest.mark.parametrize("loss", LOSSES)
def test_degenerate_images_give_finite_losses_and_gradients(loss: str, precision: str):
    """All images constant, real and fake the same, and a discriminator that is flat."""
    run = make_run(*SMALL, f"loss={loss}", f"device.precision={precision}")
    network = run.discriminator.network
    run.discriminator.thaw(True)
    labels = torch.zeros(16, dtype=torch.long)
    constant, drawn = (
        Batch(images, labels, Batch(images, labels)) for images in (torch.ones(16, 1, 8, 8), torch.rand(16, 1, 8, 8))
    )
    pairs = ((constant, constant), (drawn, drawn), (constant, drawn))
    for flat, (real, fake) in itertools.product((False, True), pairs):
        if flat and not isinstance(run.objective.constraint, SpectralNorm):  # which divides by the largest slope
            for name, parameter in network.named_parameters():
                if not name.endswith("original1"):  # of weight norm, the direction, which has no length to lose
                    parameter.data.zero_()
        noise = run.batches.noise("discriminator", 0, 16)
        with run.device.autocast():
            value, _ = run.objective.discriminator(network, real, fake, noise, Progress(0, 100))
            penalty, stats = run.objective.penalty(network, real, fake, noise, 0, Progress(0, 100))
        (value + penalty).backward()
        assert value.isfinite()
        assert all(statistic.isfinite() for statistic in stats.values())
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_simultaneous_players_move_from_the_same_point():
    """The generator's step does not depend on the discriminator's step: it is the same with a frozen discriminator."""
    free = (*SMALL, *SGD, "loss.simultaneous=true")
    moving, held = make_run(*free), make_run(*free, "optimizer.discriminator.lr=0")
    for run in (moving, held):
        run.step()
    names = [name for name in weights(moving) if name.startswith("generator")]
    assert_close([weights(moving)[n] for n in names], [weights(held)[n] for n in names], rtol=0, atol=0)
    assert not torch.equal(
        weights(moving)["discriminator.layers.0.weight"], weights(held)["discriminator.layers.0.weight"]
    )
    alternating = steps(make_run(*SMALL, *SGD), 1)
    assert not torch.equal(
        weights(alternating)["generator.layers.0.weight"], weights(moving)["generator.layers.0.weight"]
    )


# ---- Dirac-GAN (Mescheder et al. 2018): all real mass at 0, the generator is a point, the discriminator a slope


RATE = 0.1


def dirac(*overrides: str) -> list[float]:
    """Distances from the equilibrium (0, 0) after each of 500 gradient steps of 0.1."""
    run = make_run("experiment=dirac", f"optimizer.lr={RATE}", "device=cpu", *overrides)
    found = []
    for _ in range(500):
        run.step()
        weights = [p.item() for player in (run.generator, run.discriminator) for p in player.network.parameters()]
        found.append(math.hypot(*weights))
    return found


def rate_of_decay(gamma: float, simultaneous: bool) -> float:
    """Of the logarithm of the distance in a step: half that of the determinant of the linear map around (0, 0)."""
    return math.log(1 - RATE * gamma + simultaneous * RATE**2 / 4) / 2


@pytest.mark.parametrize(
    ("gamma", "simultaneous", "radius"),
    [
        (0.0, True, 2.2536),
        (0.0, False, 1.4143),
        pytest.param(0.3, True, 9e-4, marks=pytest.mark.long),
        (0.3, False, 5e-4),
        pytest.param(1.0, True, 0.0, marks=pytest.mark.long),
        (1.0, False, 0.0),
    ],
)
def test_the_dirac_gan_ends_where_theory_says(gamma: float, simultaneous: bool, radius: float):
    """Unregularised it diverges or orbits; R1 makes it converge, critically damped at gamma = 1."""
    penalty = f"weight:{gamma / 2},at:real,center:0.0,_target_:gan_runner.loss.penalty.GradientPenalty"
    overrides = [f"+loss.penalties.r1={{{penalty}}}"] if gamma else []
    found = dirac("loss=minimax", f"loss.simultaneous={str(simultaneous).lower()}", *overrides)
    assert found[-1] == pytest.approx(radius, abs=1e-8 if gamma == 1 else 5e-5)
    if gamma == 0.3:
        turns = round(4 * math.pi / (RATE * math.sqrt(0.25 - gamma**2 / 4)))  # four half turns, at the end
        slope = np.polyfit(np.arange(turns), np.log(found[-turns:]), 1)[0]
        assert slope == pytest.approx(rate_of_decay(gamma, simultaneous), rel=0.02)
        assert simultaneous or slope == pytest.approx(-gamma * RATE / 2, rel=0.02)


def test_wgan_gp_does_not_converge_on_the_dirac_gan():
    assert dirac("loss=wgan_gp", "loss.n_critic=1")[-1] > 0.1
