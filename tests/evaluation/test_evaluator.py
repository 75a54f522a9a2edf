"""Metrics of players: which metrics apply, that computing them changes nothing, and the meaning of their values."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from gan_runner.cli.places import CONF
from gan_runner.errors import ConfigError
from gan_runner.evaluation.evaluator import Evaluator
from gan_runner.evaluation.opponent import Opponent
from gan_runner.evaluation.selection import Evaluation, Selection
from gan_runner.metric.inputs import View
from gan_runner.metric.neighbours import nearest
from gan_runner.metric.pools import CHUNK, Chunk, Pool
from gan_runner.noise import Noise
from gan_runner.spec import ImageSpec
from gan_runner.training.judging import evaluate
from gan_runner.training.run import Run
from gan_runner.training.showcase import sampler_of
from tests.conftest import SMALL, make_run, some, weights

ALL = sorted(path.stem for path in (CONF / "metric").glob("*.yaml"))
DOWNLOADED = {"fid", "kid", "inception_score", "precision_recall"}
HERE = [name for name in ALL if name not in DOWNLOADED]
PLAYERS = SMALL[2:]
THIN = ("model.generator.width=8", "model.discriminator.width=8", *PLAYERS)
TOLD = ("model.generator.conditioning=one_hot", "model.discriminator.conditioning=one_hot")

POINTS = {"gaussian_fit"}  # that images refuse
TOLD_CLASSES = {"conditional", "nearest_neighbour_error"}  # that a generator without labels refuses
PLAIN = {*POINTS, *TOLD_CLASSES, "held_out_wasserstein", "test_error"}  # that a plain GAN refuses
NO_LABELS = {"classifier_fid", "classifier_kid", "classifier_precision_recall", "classifier_score"}
RANDOM = ("dataset=synthetic", "dataset.count=600", "dataset.height=16", "dataset.width=16")
CASES = {
    "digits and mlp": (SMALL, PLAIN),
    "digits, dcgan and batch norm": (("model=dcgan", *THIN, "model.discriminator.norm=batch"), PLAIN),
    "digits and classes told": ((*SMALL, *TOLD), {*POINTS, "held_out_wasserstein", "test_error"}),
    "digits and projection": (
        ("model=dcgan", *THIN, "model.generator.conditioning=norm", "model.discriminator.conditioning=projection"),
        {*POINTS, "held_out_wasserstein", "test_error"},
    ),
    "digits and acgan": ((*SMALL, "loss=acgan"), {*POINTS, "held_out_wasserstein", "test_error"}),
    "digits, few labels": (
        (*SMALL, "loss=semi_supervised", "dataset.labels_per_class=5"),
        {*POINTS, *TOLD_CLASSES, "held_out_wasserstein"},
    ),
    "digits and wgan_gp": ((*SMALL, "loss=wgan_gp"), {*POINTS, *TOLD_CLASSES, "test_error"}),
    "digits and energies": ((*SMALL, "loss=began"), PLAIN),
    "colour and spectral norm": ((*RANDOM, "model=dcgan", *THIN, "loss=sngan"), PLAIN),
    "colour without labels": (
        (*RANDOM, "dataset.num_classes=0", "model=dcgan", *THIN),
        PLAIN | NO_LABELS | {"linear_probe", "modes"},
    ),
    "points of a mixture": (
        ("dataset=ring8", "model=toy", *SMALL[:2], *SMALL[3:]),
        PLAIN | NO_LABELS | {"linear_probe", "memorization", "parzen"},
    ),
}


def chosen(names: object) -> tuple[str, ...]:
    return f"metric=[{','.join(names)}]", "metric.n_fake=300"


@pytest.mark.parametrize(("overrides", "refused"), CASES.values(), ids=CASES)
def test_every_metric_applies_or_says_in_a_sentence_why_not(overrides: tuple[str, ...], refused: set[str]):
    with pytest.raises(ConfigError) as caught:
        make_run(*overrides, *chosen(HERE))
    assert {sentence.split(" ")[0] for sentence in caught.value.sentences} == {f"metric.{name}" for name in refused}
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in caught.value.sentences)


MEASURED = ("points of a mixture", "colour without labels")


@pytest.mark.parametrize("case", some({case: case for case in CASES}, MEASURED))
def test_every_metric_that_applies_has_its_values(monkeypatch: pytest.MonkeyPatch, case: str):
    overrides, refused = CASES[case]
    if "dataset=synthetic" in overrides:
        monkeypatch.setattr("gan_runner.metric.classifier.SHOWN", 2000)
    run = make_run(*overrides, *chosen(name for name in HERE if name not in refused))
    found = evaluate(run)
    odd = {name for name, value in found.values.items() if not math.isfinite(value)}
    assert odd <= {"copying_pixels", "copying_features"}, found.values  # with fewer than 20 images in every cell
    assert "dataset=synthetic" in overrides or not odd
    assert run.evaluator.better.keys() <= found.values.keys()
    assert found.values.keys() == found.protocols.keys()


LIVELY = {
    "dropout and batch norm": ("model.generator.dropout=0.3", "model.discriminator.norm=batch"),
    "spectral norm and labels": ("loss=sngan", *TOLD),
    "a semi-supervised pair": ("loss=semi_supervised", "dataset.labels_per_class=5"),
}
SOME = ("classifier_fid", "memorization", "discriminator_gap", "linear_probe", "sliced_wasserstein", "classifier_kid")


@pytest.mark.parametrize("overrides", some(LIVELY, ["spectral norm and labels"]))
def test_taking_metrics_changes_nothing_in_training(overrides: tuple[str, ...]):
    found = []
    for judged in (True, False):
        run = make_run(*SMALL, *overrides, *chosen([*SOME, *["test_error"] * ("semi" in overrides[0])]))
        for _ in range(3):
            run.step()
        state, before = torch.get_rng_state(), live(run)
        if judged:
            modes = [module.training for module in run.discriminator.network.modules()]
            first, again = evaluate(run), evaluate(run)
            assert first.values == again.values
            assert torch.equal(torch.get_rng_state(), state)
            assert_close(live(run), before, rtol=0, atol=0)
            assert [module.training for module in run.discriminator.network.modules()] == modes
        stats = [run.step() for _ in range(3)]
        found.append((live(run), stats, run.ema.state_dict(), run.discriminator.optimizer.state_dict()["state"]))
    assert_close(found[0], found[1], rtol=0, atol=0)


def live(run: Run) -> dict[str, Tensor]:
    """Weights and buffers; the average estimates its buffers again for each use."""
    return {name: value for name, value in weights(run).items() if not name.startswith("ema")}


def test_values_are_a_function_of_the_weights_alone():
    """They do not depend on the step, the batches drawn or the run."""
    names = ("classifier_fid", "discriminator_gap")
    run, other = (make_run(*SMALL, *chosen(names), f"seed={seed}") for seed in (0, 1))
    for _ in range(3):
        run.step()
    assert evaluate(other).values != evaluate(run).values
    state = run.state() | {"counters": {**run.state()["counters"], "steps": 77}}
    third = make_run(*SMALL, *chosen(names))
    third.load_state(state)
    assert evaluate(third).values == evaluate(run).values


# ---- what values mean, with images of our own in the place of a generator's


def judged(run: Run, images: Tensor, split: str = "test", labels: Tensor | None = None) -> Evaluation:
    def read(number: int) -> Chunk:
        rows = slice(number * CHUNK, (number + 1) * CHUNK)
        return Chunk(images[rows], labels[rows] if labels is not None else None)

    assert run.evaluator is not None
    return run.evaluator(Pool(read, len(images)), None, split, "images")


OF_SAMPLES = (
    *("classifier_fid", "pixel_fid", "classifier_kid", "classifier_score", "classifier_precision_recall"),
    *("density_coverage", "memorization", "modes", "sliced_wasserstein"),
)


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run(*SMALL, f"metric=[{','.join(OF_SAMPLES)}]", "metric.n_fake=180", "metric.modes.n_fake=180")


@pytest.fixture(scope="module")
def healthy(run: Run) -> dict[str, float]:
    """Compares images that neither the discriminator nor the classifier has seen with others of that kind."""
    return judged(run, run.dataset.split("validation").images).values


def test_held_out_images_against_held_out_images_are_as_good_as_can_be(run: Run, healthy: dict[str, float]):
    assert healthy["classifier_precision"] > 0.85
    assert healthy["classifier_recall"] > 0.85
    assert healthy["density"] == pytest.approx(1, abs=0.2)
    assert healthy["coverage"] == pytest.approx(1 - 2**-5, abs=0.06)  # k = 5
    assert healthy["modes"] == 10
    assert healthy["total_variation"] < 0.15
    assert healthy["classifier_score"] > 7  # parts of 18 images hold less than ten classes alike
    for name in ("pixels", "features"):
        assert healthy[f"memorization_ratio_{name}"] == pytest.approx(1, abs=0.15)
        assert abs(healthy[f"copying_{name}"]) < 3
    assert healthy["one_nearest_neighbour"] == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(360) + 0.05)


def test_the_frechet_distance_of_real_images_is_its_bias_and_the_kernel_distance_zero(
    run: Run, healthy: dict[str, float]
):
    """Other halves of the 360 held-out images have the same distance."""
    images = torch.cat([run.dataset.split(name).images for name in ("validation", "test")])
    vectors = run.evaluator.extractor("classifier")(images).vectors.double()
    drawn = []
    for seed in range(30):
        order = torch.randperm(360, generator=torch.Generator().manual_seed(seed))
        drawn.append(frechet(vectors[order[:180]], vectors[order[180:]]))
    low, high = min(drawn), max(drawn)
    assert low - (high - low) < healthy["classifier_fid"] < high + (high - low)
    apart = judged(run, torch.randint(256, (180, 1, 8, 8)).to(torch.uint8)).values
    assert apart["classifier_fid"] > 5 * high
    assert abs(healthy["classifier_kid"]) < apart["classifier_kid"] / 100


def frechet(one: Tensor, other: Tensor) -> float:
    """By the trace of the root, through singular values: |A|_* of A = X'Y for centred X, Y over their degrees."""
    a, b = ((rows - rows.mean(0)) / math.sqrt(len(rows) - 1) for rows in (one, other))
    shared = torch.linalg.svdvals(a @ b.T).sum()  # Tr (C_a C_b)^(1/2)
    return float((one.mean(0) - other.mean(0)).square().sum() + a.square().sum() + b.square().sum() - 2 * shared)


def test_a_generator_that_replays_training_images_is_caught(run: Run, healthy: dict[str, float]):
    replayed = judged(run, run.dataset.split("train").images[:180]).values
    for name in ("pixels", "features"):
        assert replayed[f"memorization_ratio_{name}"] < 0.01
        assert replayed[f"copying_{name}"] < -3
    assert replayed["memorization_distance"] == pytest.approx(0, abs=1e-6)
    assert replayed["classifier_mifid"] > 1e3 * healthy["classifier_mifid"]
    for name in ("classifier_precision", "classifier_recall", "coverage"):  # which see no copies
        assert replayed[name] == pytest.approx(healthy[name], abs=0.1)


def test_a_generator_of_three_digits_loses_recall_coverage_and_modes_and_keeps_precision(run: Run):
    held_out = run.dataset.split("validation")
    three = held_out.images[held_out.labels < 3]
    counts = f"metric.n_fake={len(three)}", f"metric.modes.n_fake={len(three)}"
    often = "metric.modes.least_share=0.5"  # two of the 39: one may be misread
    other = make_run(*SMALL, f"metric=[{','.join(OF_SAMPLES)}]", *counts, often)
    few, all_ten = (judged(other, images).values for images in (three, held_out.images[: len(three)]))
    assert few["classifier_precision"] == pytest.approx(all_ten["classifier_precision"], abs=0.1)
    assert few["density"] > 0.7
    assert few["classifier_recall"] < all_ten["classifier_recall"] - 0.3
    assert few["coverage"] < all_ten["coverage"] - 0.3
    assert few["modes"] == 3
    assert all_ten["modes"] >= 9  # one that is rare among so few
    assert few["reverse_kl"] == pytest.approx(math.log(10 / 3), abs=0.15)
    assert few["classifier_fid"] > 2 * all_ten["classifier_fid"]


@pytest.mark.long
def test_agreement_of_real_images_is_the_accuracy_of_the_classifier():
    run = make_run(*SMALL, *TOLD, "metric=[conditional]", "metric.n_fake=180")
    test = run.dataset.split("test")
    found = judged(run, test.images, "test", test.labels)
    assert found.values["conditional_agreement"] == pytest.approx(
        found.protocols["conditional_agreement"]["features_accuracy"]
    )
    assert found.values["classifier_intra_fid"] == pytest.approx(0, abs=1e-2)
    shifted = judged(run, test.images, "test", (test.labels + 1) % 10)
    assert shifted.values["conditional_agreement"] < 0.05
    assert shifted.values["classifier_intra_fid"] > 100


# ---- the discriminator


class Mean(nn.Module):
    """A discriminator with a known score: the mean pixel, through a linear layer."""

    def __init__(self, spec: ImageSpec):
        super().__init__()
        self.layer = nn.Linear(spec.size, 1, bias=False)
        nn.init.constant_(self.layer.weight, 1 / spec.size)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self.layer(images.flatten(1)).squeeze(1)


class Recalls(nn.Module):
    """Scores seen images with 1 and others with 0."""

    def __init__(self, shown: Tensor):
        super().__init__()
        self.shown, self.layer = shown.flatten(1), nn.Linear(1, 1)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return (nearest(images.flatten(1), self.shown).distances[:, 0] < 1e-3).float()


def test_held_out_wasserstein_of_a_linear_discriminator_is_the_distance_of_the_means():
    run = make_run(*SMALL, "loss=wgan_gp", "metric=[held_out_wasserstein]", "metric.n_fake=300", "train.batch_size=50")
    run.discriminator.network = Mean(run.real.spec)
    run.ema.averaged[0].data.add_(0.1)  # the live generator is meant, not this one
    found = evaluate(run, "test")
    sampler = sampler_of(run, run.generator.network)
    fake = torch.cat([sampler(Noise((0, "sample", n), CHUNK, run.device.torch), None) for n in range(2)])[:300]
    real = run.dataset.decode(run.dataset.split("test").images)
    assert found.values["held_out_wasserstein"] == pytest.approx(float(real.mean() - fake.mean()), abs=0.005)  # 8 bits
    assert found.protocols["held_out_wasserstein"]["weights"] == "live"


def test_the_gap_of_a_discriminator_that_knows_its_images_by_heart_is_one_and_of_a_fresh_one_none():
    run = make_run(*SMALL, "metric=[discriminator_gap]", "metric.n_fake=100")
    fresh = evaluate(run, "test").values
    assert abs(fresh["discriminator_gap"]) < 0.05
    run.discriminator.network = Recalls(run.dataset.decode(run.real.images))
    known = evaluate(run, "test").values
    assert known["discriminator_gap"] == pytest.approx(1, abs=0.02)
    assert known["discriminator_gap_share"] == pytest.approx(1, abs=0.02)


def test_the_gap_of_a_discriminator_that_says_one_thing_of_all_has_no_share():
    run = make_run(*SMALL, "metric=[discriminator_gap]", "metric.n_fake=100")
    nn.init.zeros_(next(iter(run.discriminator.network.parameters())))
    for parameter in run.discriminator.network.parameters():
        nn.init.zeros_(parameter)
    found = evaluate(run, "test").values
    assert found["discriminator_gap"] == 0
    assert math.isnan(found["discriminator_gap_share"])


def test_the_probe_reads_the_digits_out_of_pixels_and_nothing_out_of_a_constant():
    """The features of a linear discriminator are its pixels, from which digits are read to 95 % and more."""
    run = make_run(*SMALL, "metric=[linear_probe]")
    run.discriminator.network = Mean(run.real.spec)
    assert evaluate(run, "test").values["linear_probe"] > 0.93
    run.discriminator.network = nn.Sequential(nn.Flatten(), Nothing())
    run.discriminator.network.forward = lambda images, labels: run.discriminator.network[1](images)
    assert evaluate(run, "test").values["linear_probe"] < 0.3


class Nothing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(torch.zeros(len(images), 4)).squeeze(1)


def test_batches_of_the_discriminator_are_those_of_training_and_lose_no_image():
    run = make_run(*SMALL)
    seen = []

    class Notes(Mean):
        def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
            seen.append(len(images))
            return super().forward(images, labels)

    game = Opponent(sampler_of(run, run.ema.network), Notes(run.real.spec), None, run.dataset, 0, 16)
    for count, sizes in ((40, [16, 24]), (48, [16, 16, 16]), (5, [5])):
        seen.clear()
        scores = game.scores(run.real.images[:count], None)
        assert seen == sizes
        assert_close(scores, run.dataset.decode(run.real.images[:count]).mean((1, 2, 3)))


# ---- what is said of values


def test_values_of_two_metrics_with_one_name_are_refused():
    again = "+metric.again={_target_: gan_runner.metric.of_features.FrechetDistance, features: pixels, n_fake: 50}"
    run = make_run(*SMALL, "metric=[pixel_fid]", "metric.n_fake=50", again)
    with pytest.raises(ConfigError, match=r"metric.again gives pixel_fid, as another metric does"):
        evaluate(run)


class Own:
    """An invalid user-defined metric."""

    def __init__(self, kind: str):
        self.kind = kind

    def __call__(self, view: View) -> object:
        if self.kind == "labels":
            return {"own": view.fake(10).labels.sum()}
        if self.kind == "logits":
            return {"own": view.fake(10).logits("pixels").sum()}
        return {"number": {"own": torch.tensor(3)}, "list": [1], "text": {"own": "three"}}[self.kind]


OWN = {
    "list": "it returns list, and should return a dictionary",
    "text": "could not convert string to float",
    "labels": "it asks for labels of images that have none",
    "logits": "it asks for logits of pixels, which names no classes",
}


@pytest.mark.parametrize(("kind", "words"), OWN.items(), ids=OWN)
def test_a_users_metric_that_goes_wrong_is_named(kind: str, words: str):
    run = make_run(*SMALL, f"+metric.own={{_target_: tests.evaluation.test_evaluator.Own, kind: {kind}}}")
    with pytest.raises(ConfigError, match=f"metric.own: {words}"):
        evaluate(run)


def test_a_users_metric_may_return_tensors():
    run = make_run(*SMALL, "+metric.own={_target_: tests.evaluation.test_evaluator.Own, kind: number}")
    found = evaluate(run)
    assert found.values == {"own": 3.0}
    assert type(found.values["own"]) is float
    assert found.protocols["own"]["kind"] == "number"


def test_two_samples_and_three_training_images_are_enough_to_be_measured():
    few = ("metric.n_fake=2", "metric.modes.n_fake=2", "metric.memorization.n_train=3")
    found = evaluate(make_run(*SMALL, "metric=[pixel_fid,pixel_kid,memorization,modes]", *few))
    assert found.values["modes"] <= 2
    assert found.protocols["classifier_mifid"]["n_train"] == 3


def test_a_generator_that_makes_one_image_has_the_values_of_a_collapse(run: Run):
    found = judged(run, torch.full((180, 1, 8, 8), 7, dtype=torch.uint8)).values
    assert found["modes"] == 1
    assert found["classifier_score"] == pytest.approx(1)
    assert found["reverse_kl"] == pytest.approx(math.log(10))
    assert found["classifier_recall"] == 0
    assert found["one_nearest_neighbour"] == 1


def test_a_covariance_without_inverse_is_warned_of_once(caplog: pytest.LogCaptureFixture):
    run = make_run(*SMALL, "metric=[classifier_fid]", "metric.n_fake=100")
    for _ in range(3):
        evaluate(run)
    told = [record.getMessage() for record in caplog.records if "covariance" in record.getMessage()]
    assert len(told) == 1
    assert "n_fake=100" in told[0]
    evaluate(make_run(*SMALL, "metric=[classifier_fid]", "metric.n_fake=150"))
    assert len([record for record in caplog.records if "covariance" in record.getMessage()]) == 1


def evaluation(value: float, **protocol: object) -> Evaluation:
    return Evaluation("validation", {"fid": value}, {"fid": protocol}, {})


def test_a_selection_keeps_the_best_and_counts_what_was_no_better():
    selection, kept = Selection(), []
    for step, value in enumerate([5.0, math.nan, 3.0, 3.0, 4.0, math.inf]):
        kept.append(selection.improves(step, evaluation(value), "fid", "low", counts=step != 4))
    assert kept == [True, False, True, False, False, False]
    assert selection.best == {"select_by": "fid", "step": 2, "validation": {"fid": 3.0}}
    assert selection.without_gain == 2
    assert not selection.improves(5, evaluation(0.0), "fid", "low", counts=True)  # a step is judged once
    high = Selection()
    assert [high.improves(s, evaluation(v), "fid", "high", True) for s, v in enumerate([1.0, 2.0, 0.0])] == [1, 1, 0]


def test_a_value_by_another_protocol_begins_a_selection_anew():
    selection = Selection()
    assert selection.improves(1, evaluation(3.0, n_fake=100), "fid", "low", counts=True)
    assert not selection.improves(2, evaluation(4.0, n_fake=100), "fid", "low", counts=True)
    assert selection.improves(3, evaluation(9.0, n_fake=50), "fid", "low", counts=True)
    assert (selection.step, selection.without_gain) == (3, 0)


def test_a_selection_goes_through_its_state():
    one, other = Selection(), Selection()
    one.improves(7, evaluation(3.0, n_fake=100), "fid", "low", counts=True)
    other.load_state_dict(one.state_dict())
    assert vars(other) == vars(one)
    with pytest.raises(KeyError):
        other.load_state_dict({"step": 3})


def test_an_evaluator_judges_on_validation_images_where_there_are_any():
    evaluator = make_run(*SMALL, "metric=[pixel_fid]").evaluator
    assert isinstance(evaluator, Evaluator)
    assert evaluator.selection == "validation"
    evaluator.dataset.splits["validation"] = 0
    assert evaluator.selection == "test"
