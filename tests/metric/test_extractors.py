"""Feature extractors: a classifier of the dataset, pixels, and the networks of torch-fidelity."""

import urllib.error
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gan_runner.dataset.digits import Digits
from gan_runner.dataset.images import ImageDataset
from gan_runner.errors import ConfigError
from gan_runner.metric import classifier as classifier_module
from gan_runner.metric.cache import Cache
from gan_runner.metric.classifier import Classifier
from gan_runner.metric.fidelity import SOURCES, Fidelity
from gan_runner.metric.pixels import MOST, Pixels
from gan_runner.metric.pools import CHUNK, Chunk, Pool
from gan_runner.spec import ImageSpec
from tests.conftest import SMALL, Command, make_run, some, untrained_inception

CPU = torch.device("cpu")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


# ---- the classifier


def test_the_classifier_reads_digits_that_it_was_not_shown_and_one_serves_all_runs():
    one, other = (make_run(*SMALL, "metric=[classifier_fid]", f"seed={seed}") for seed in (0, 1))
    first, second = (run.evaluator.extractor("classifier") for run in (one, other))
    test = Digits().split("test")
    right = (first(test.images).logits.argmax(1) == test.labels).float().mean()
    assert right > 0.95
    assert first.accuracy == pytest.approx(float(right))
    assert first.digest == second.digest
    assert first(test.images).vectors.shape == (180, 128)


def test_neither_training_a_classifier_nor_loading_one_draws_from_the_noise_of_a_run(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(classifier_module, "SHOWN", 500)
    run = make_run(*SMALL, "metric=[classifier_fid]", f"metric.cache_dir={tmp_path}")
    assert list(tmp_path.rglob("content.pt"))
    state = torch.get_rng_state()
    run.evaluator.extractors.clear()
    run.evaluator.extractor("classifier")
    assert torch.equal(torch.get_rng_state(), state)
    next(tmp_path.rglob("content.pt")).unlink()
    run.evaluator.extractors.clear()
    run.evaluator.extractor("classifier")
    assert torch.equal(torch.get_rng_state(), state)


def small(images: Tensor, classes: int = 2) -> ImageDataset:
    """The brightness of an image is its class."""
    labels = torch.arange(len(images)) % classes
    images = (images.float() / 2 + 127 * labels.view(-1, 1, 1, 1) / (classes - 1)).to(torch.uint8)
    names = tuple(map(str, range(classes)))
    return ImageDataset(images, labels, {"train": len(images) * 4 // 5, "test": len(images) // 5}, names)


SHAPES = [(1, 8, 8), (3, 32, 32), (1, 100, 100), (3, 20, 70), (4, 5, 3), (1, 2, 2)]


@pytest.mark.parametrize("shape", some({str(shape): shape for shape in SHAPES}, ["(1, 8, 8)", "(4, 5, 3)"]))
def test_the_classifier_learns_images_of_any_shape_and_the_same_each_time(tmp_path: Path, monkeypatch, shape: tuple):
    monkeypatch.setattr(classifier_module, "SHOWN", 1000)
    dataset = small(noise(100, *shape))
    found = [
        Classifier(dataset.split("train"), dataset.split("test"), Cache(str(tmp_path / name)), CPU)
        for name in ("one", "other")
    ]
    assert found[0].accuracy > 0.9
    assert found[0].digest == found[1].digest
    features = found[0](dataset.images)
    assert (features.vectors.shape, features.logits.shape) == ((100, 128), (100, 2))
    assert_close(found[1](dataset.images), features, rtol=0, atol=0)
    assert_close(found[0](dataset.images[40:50]).vectors, features.vectors[40:50], rtol=1e-4, atol=1e-4)


def test_another_dataset_has_another_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_module, "SHOWN", 500)
    cache, digests = Cache(str(tmp_path)), set()
    for seed in (0, 0, 1):
        dataset = small(noise(100, 1, 8, 8, seed=seed))
        digests.add(Classifier(dataset.split("train"), dataset.split("test"), cache, CPU).digest)
    assert len(digests) == 2
    assert len(list(tmp_path.rglob("content.pt"))) == 2


def test_digits_of_a_set_without_a_test_split_are_read_on_what_there_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classifier_module, "SHOWN", 500)
    run = make_run(*SMALL, "metric=[classifier_fid]", "dataset=synthetic", "dataset.count=40", "metric.n_fake=40")
    run.evaluator.dataset.splits |= {"test": 0, "validation": 0}
    run.evaluator.extractors.clear()
    assert 0 <= run.evaluator.extractor("classifier").accuracy <= 1


@pytest.mark.long
def test_the_classifier_reads_mnist_to_99_percent(real_mnist: Path):
    run = make_run(*SMALL, "dataset=mnist", f"dataset.root={real_mnist}", "metric=[classifier_fid]")
    assert run.evaluator.extractor("classifier").accuracy > 0.985


# ---- pixels


def test_pixels_are_from_0_to_1_and_points_as_they_are():
    images = noise(5, 3, 4, 4)
    assert_close(Pixels(ImageSpec(3, 4, 4))(images).vectors, images.flatten(1) / 255)
    points = torch.randn(5, 2, 1, 1)
    assert_close(Pixels(ImageSpec(2, 1, 1, value_range=None))(points).vectors, points.flatten(1), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(1, 56, 56), (3, 64, 64), (1, 130, 70), (3, 33, 33), (1, 40, 120)], ids=str)
def test_of_large_images_the_means_of_equal_areas_are_taken(shape: tuple[int, int, int]):
    looked, images = Pixels(ImageSpec(*shape)), noise(3, *shape)
    features = looked(images).vectors
    assert features.shape[1] <= MOST
    assert looked.name == f"pixels {shape[0]}x{looked.height}x{looked.width}"
    flat = torch.full((1, *shape), 51, dtype=torch.uint8)
    assert_close(looked(flat).vectors, torch.full((1, features.shape[1]), 0.2))
    if shape in ((1, 56, 56), (3, 64, 64), (1, 40, 120)):  # whose halves are whole
        blocks = images.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).float()
        expected = blocks.mean((3, 5)) / 255
        while expected.flatten(1).shape[1] > features.shape[1]:
            expected = expected.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
        assert_close(features, expected.flatten(1))


# ---- torch-fidelity


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_inception(tmp_path_factory.mktemp("weights"))


def test_features_of_inception_are_of_8_bit_images_gray_ones_in_three_channels(weights: Path):
    looked = Fidelity("inception", str(weights), CPU)
    gray = noise(2, 1, 8, 8)
    features = looked(gray)
    assert (features.vectors.shape, features.logits.shape) == ((2, 2048), (2, 1008))
    assert_close(looked(gray.expand(-1, 3, -1, -1)), features, rtol=0, atol=0)
    assert looked.name == "inception-v3-compat 2048"
    assert looked.digest == Fidelity("inception", str(weights), CPU).digest


@pytest.mark.long
def test_the_values_are_those_of_torch_fidelity(weights: Path):
    """On the same images; subsets and splits have all images, so that the values do not depend on a draw."""
    from torch_fidelity import calculate_metrics

    given = f"metric.{{}}.weights={weights}"
    counts = ("metric.n_real=10", "metric.n_fake=10", "metric.inception_score.n_fake=10")
    whole = ("metric.inception_score.splits=1", "metric.kid.subset_size=10", "metric.kid.subsets=2")
    names = ("fid", "kid", "inception_score")
    run = make_run(*SMALL, "metric=[fid,kid,inception_score]", *counts, *whole, *(given.format(name) for name in names))
    test, other = (run.dataset.split(name).images[:10] for name in ("test", "validation"))
    found = run.evaluator(Pool(lambda n: Chunk(other[n * CHUNK : (n + 1) * CHUNK], None), 10), None, "test", "images")
    sets = [[image.expand(3, -1, -1) for image in images] for images in (other, test)]
    expected = calculate_metrics(
        **{f"input{n}": Images(images) for n, images in enumerate(sets, 1)},
        **dict.fromkeys(("fid", "kid", "isc"), True),
        **{"kid_subset_size": 10, "kid_subsets": 2, "isc_splits": 1, "batch_size": 10, "cuda": False, "verbose": False},
        **{"feature_extractor_weights_path": str(weights), "cache": False, "samples_find_deep": False},
    )
    assert found.values["fid"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-4)
    assert found.values["kid"] == pytest.approx(1000 * expected["kernel_inception_distance_mean"], rel=1e-4)
    assert found.values["inception_score"] == pytest.approx(expected["inception_score_mean"], rel=1e-4)
    assert found.protocols["fid"]["features"] == "inception-v3-compat 2048"


class Images(torch.utils.data.Dataset):
    def __init__(self, images: list[Tensor]):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> Tensor:
        return self.images[number]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("kind", ["inception", "vgg16", "clip", "dinov2"])
def test_without_a_network_one_sentence_says_which_file_belongs_where(offline: Path, kind: str):
    with pytest.raises(ConfigError) as caught:
        Fidelity(kind, None, CPU)
    (sentence,) = caught.value.sentences
    assert "\n" not in sentence
    assert SOURCES[kind].file in sentence
    assert "no route to host" in sentence or "no internet connection" in sentence
    assert str(offline) in sentence


def test_the_folder_that_is_named_is_the_one_that_is_read(offline: Path, weights: Path, monkeypatch):
    monkeypatch.setattr("torch.hub.HASH_REGEX", SimpleNamespace(search=lambda name: None), raising=False)
    offline.mkdir(parents=True)
    (offline / SOURCES["inception"].file).symlink_to(weights)
    assert Fidelity("inception", None, CPU).digest == Fidelity("inception", str(weights), CPU).digest


WRONG = {
    "no file": lambda path: None,
    "text": lambda path: path.write_text("text"),
    "empty": lambda path: path.write_bytes(b""),
    "weights of something else": lambda path: torch.save({"a": torch.zeros(3)}, path),
    "a list": lambda path: torch.save([1, 2], path),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("kind", ["inception", "vgg16"])
@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, content: Any, kind: str):
    content(tmp_path / "weights.pth")
    with pytest.raises(ConfigError) as caught:
        Fidelity(kind, str(tmp_path / "weights.pth"), CPU)
    (sentence,) = caught.value.sentences
    assert "\n" not in sentence
    assert str(tmp_path / "weights.pth") in sentence
    assert SOURCES[kind].file in sentence


def test_a_network_whose_program_is_downloaded_as_well_says_so(offline: Path, tmp_path: Path):
    for kind in ("clip", "dinov2"):
        with pytest.raises(ConfigError, match="contains code, which runs only from torch-fidelity's own download"):
            Fidelity(kind, str(tmp_path / "weights.pth"), CPU)
    with pytest.raises(ConfigError, match=f"github.com/facebookresearch/dinov2 into {offline.parent}"):
        Fidelity("dinov2", None, CPU)


def test_code_in_a_file_of_weights_is_not_run(tmp_path: Path):
    torch.save(Touch(tmp_path / "touched"), tmp_path / "weights.pth")
    with pytest.raises(ConfigError):
        Fidelity("inception", str(tmp_path / "weights.pth"), CPU)
    assert not (tmp_path / "touched").exists()


class Touch:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize(
    "metric",
    ["fid", "precision_recall", *(pytest.param(name, marks=pytest.mark.long) for name in ("kid", "inception_score"))],
)
def test_missing_weights_end_a_run_before_it_begins(command: Command, offline: Path, metric: str):
    answer = command(*SMALL, "train.total_steps=1", f"metric={metric}")
    assert answer.code == 2
    told = [line for line in answer.err.splitlines() if line and not line.startswith("Downloading: ")]
    assert len(told) == 1, answer.err
    assert not list(Path("outputs").glob("*"))
