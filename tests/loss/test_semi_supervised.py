"""Semi-supervised learning against softmaxes by hand."""

import math

import pytest
import torch
from torch import nn

from gan_runner.errors import ConfigError
from gan_runner.loss.adversarial import NonSaturating
from gan_runner.loss.semi_supervised import SemiSupervised
from gan_runner.metric.test_error import error_rate
from gan_runner.model.conditioning import ClassHead
from gan_runner.noise import Noise
from gan_runner.schedule import Progress
from gan_runner.spec import Batch
from gan_runner.training.judging import evaluate
from tests.conftest import make_run

NOISE, START = Noise((0,), 2, torch.device("cpu")), Progress(0, None)


class Reader(nn.Module):
    """The pixels are the logits, and the features."""

    def __init__(self, pixels: int = 3, classes: int = 3):
        super().__init__()
        self.head = ClassHead(nn.Sequential(nn.Identity()), classes)

    def heads(self, images, labels=None):
        return self.head(images.flatten(1), labels, images)

    def forward(self, images, labels=None):
        return self.heads(images).score


def batch(*rows: list[float], labels: list[int] | None = None) -> Batch:
    images = torch.tensor(rows, dtype=torch.float64)[:, :, None, None]
    return Batch(images, None if labels is None else torch.tensor(labels))


KNOWN = batch([1.0, 2.0, -1.0], [0.0, 0.0, 3.0], labels=[1, 0])
REAL = batch([2.0, 0.5, 0.0], [1.0, -1.0, 0.0])._replace(labelled=KNOWN)
FAKE = batch([-2.0, 0.0, 1.0], [0.0, 0.0, 0.0])


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


def rows(images: Batch) -> list[list[float]]:
    return images.images.flatten(1).tolist()


def shares(images: torch.Tensor, beside: int) -> torch.Tensor:
    """(B, classes + beside): the softmax written out, of the logits and of as many zeros."""
    weights = torch.cat([images.flatten(1), images.new_zeros(len(images), beside)], 1).exp()
    return weights / weights.sum(1, keepdim=True)


@pytest.mark.parametrize("fake_class", [False, True], ids=["K classes", "K + 1 classes"])
def test_the_gradients_of_the_discriminators_loss_are_those_of_softmaxes(fake_class: bool):
    real, fake, known = (batch.images.clone().requires_grad_() for batch in (REAL, FAKE, KNOWN))
    labelled = Batch(real, None, Batch(known, KNOWN.labels))
    loss = SemiSupervised(NonSaturating(), unsupervised_weight=0.3, fake_class=fake_class)
    value, _ = loss.discriminator(Reader(), labelled, Batch(fake), NOISE, START)
    supervised = -shares(known, int(fake_class))[range(2), KNOWN.labels].log().mean()
    unsupervised = -(1 - shares(real, 1)[:, -1]).log().mean() - shares(fake, 1)[:, -1].log().mean()
    inputs = (real, fake, known)
    expected = torch.autograd.grad(supervised + 0.3 * unsupervised, inputs)
    torch.testing.assert_close(torch.autograd.grad(value, inputs), expected)


@pytest.mark.parametrize("fake_class", [False, True], ids=["K classes", "K + 1 classes"])
@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_the_discriminator_pays_for_labels_and_for_a_fake_class_of_logit_zero(fake_class: bool, weight: float):
    loss = SemiSupervised(NonSaturating(), unsupervised_weight=weight, fake_class=fake_class)
    value, stats = loss.discriminator(Reader(), REAL, FAKE, NOISE, START)
    beside = [0.0] if fake_class else []
    supervised = -sum(math.log(softmax(row + beside)[k]) for row, k in zip(rows(KNOWN), (1, 0), strict=True)) / 2
    real = -sum(math.log(1 - softmax([*row, 0.0])[-1]) for row in rows(REAL)) / 2
    fake = -sum(math.log(softmax([*row, 0.0])[-1]) for row in rows(FAKE)) / 2
    assert stats["loss/supervised"].item() == pytest.approx(supervised)
    assert stats["loss/unsupervised"].item() == pytest.approx(weight * (real + fake))
    assert value.item() == pytest.approx(supervised + weight * (real + fake))


def test_at_equilibrium_the_published_unsupervised_loss_is_log_two():
    undecided = batch([-math.log(3)] * 3)  # the three classes together weigh as much as the fake one
    loss = SemiSupervised(NonSaturating())
    _, stats = loss.discriminator(Reader(), undecided._replace(labelled=KNOWN), undecided, NOISE, START)
    assert stats["loss/unsupervised"].item() == pytest.approx(math.log(2))


def test_a_fake_logit_of_its_own_is_the_same_softmax():
    own = ClassHead(nn.Sequential(nn.Identity()), 3)(torch.tensor([[2.0, 0.5, 0.0, 1.5]]), None, torch.empty(1))
    of_four = softmax([2.0, 0.5, 0.0, 1.5])
    assert torch.sigmoid(own.score).item() == pytest.approx(1 - of_four[3])
    assert own.logits.softmax(1)[0].tolist() == pytest.approx([p / (1 - of_four[3]) for p in of_four[:3]])


@pytest.mark.parametrize(("kind", "power"), [("squared", 2), ("absolute", 1)])
def test_feature_matching_compares_the_means_of_the_batches(kind: str, power: int):
    loss = SemiSupervised(NonSaturating(), feature_matching=kind)
    assert loss.batch_statistics
    assert loss.paired
    value, _ = loss.generator(Reader(), FAKE, REAL, NOISE, START)
    gaps = [1.5 - -1.0, -0.25 - 0.0, 0.0 - 0.5]
    assert value.item() == pytest.approx(sum(abs(gap) ** power for gap in gaps) / 3)


def test_without_feature_matching_the_generator_wants_to_be_taken_for_real():
    loss = SemiSupervised(NonSaturating(), feature_matching="none")
    assert not loss.batch_statistics
    value, _ = loss.generator(Reader(), FAKE, None, NOISE, START)
    expected = -sum(math.log(1 - softmax([*row, 0.0])[-1]) for row in rows(FAKE)) / 2
    assert value.item() == pytest.approx(expected)


def test_the_error_is_the_share_of_wrong_classes():
    logits, labels = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0]]), torch.tensor([1, 1, 0])
    assert error_rate([(logits, labels), (logits[:1], labels[:1])]) == pytest.approx(2 / 4)


FEW = ("model=ssl_mlp", "loss=semi_supervised", "dataset.labels_per_class=4", "device=cpu")


def test_the_unlabelled_images_come_without_labels_and_the_labelled_ones_from_the_few():
    run = make_run(*FEW)
    seen: set[bytes] = set()
    for _ in range(5):
        real = next(run.batches.for_discriminator)
        assert real.labels is None
        seen |= {image.numpy().tobytes() for image in real.labelled.images}
    assert len(seen) == 40


@pytest.mark.parametrize("model", [pytest.param("ssl_mlp", marks=pytest.mark.long), "mlp"])
def test_few_labels_teach_the_classes(model: str):
    run = make_run(*FEW, f"model={model}", "train.ema_half_life_images=2000", "optimizer.lr=1e-3")
    before = evaluate(run).values["test_error"]
    for _ in range(400):
        run.step()
    after = evaluate(run).values["test_error"]
    assert before > 0.5
    assert 0.0 <= after < 0.25


def test_evaluating_changes_nothing_in_training():
    overrides = (*FEW, "model=dcgan", "loss=semi_supervised_odena")
    plain, evaluated = make_run(*overrides), make_run(*overrides)
    for run in (plain, evaluated):
        run.step()
        if run is evaluated:
            evaluate(run)
        run.step()
    for p, q in zip(
        plain.discriminator.network.parameters(), evaluated.discriminator.network.parameters(), strict=True
    ):
        assert torch.equal(p, q)


REFUSED = {
    "a model without class logits": (("model=mlp_keras",), "set model.discriminator.output=classes"),
    "a score alone": (("model=ssl_mlp", "model.discriminator.output=score"), "output=classes"),
    "an autoencoder": (("model=ssl_mlp", "model.discriminator.output=squared_error"), "none of score, classes"),
    "no labels": (("model=toy", "dataset=ring8"), "needs labels and the dataset has none"),
    "a label that is told": (("model=mlp", "model.discriminator.conditioning=one_hot"), "finds the label by itself"),
    "a generator that is told": (("model=mlp", "model.generator.conditioning=one_hot"), "labels"),
    "parts of a batch": (("model=ssl_mlp", "train.accumulate=2"), "depends on the whole batch"),
    "another loss": (("model=mlp", "loss=gan", "dataset.labels_per_class=3"), "choose loss=semi_supervised"),
    "an odd size": (("model=ssl_cnn",), "multiple of 8 pixels from 16 on"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str):
    overrides, sentence = REFUSED[case]
    with pytest.raises(ConfigError, match=sentence):
        make_run("loss=semi_supervised", "device=cpu", *overrides)
