"""Inputs of metrics: images and features are computed once and cached on disk; the protocol records the request."""

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gan_runner.errors import ConfigError
from gan_runner.metric import cache as cache_module
from gan_runner.metric.cache import Cache
from gan_runner.metric.pools import CHUNK, Chunk, Features, Judged, Pool
from gan_runner.storage import lock
from gan_runner.training.judging import evaluate
from tests.conftest import SMALL, make_run

IMAGES = torch.randint(256, (3 * CHUNK - 10, 1, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


class Counting:
    """Features that are pixels, and how many images it was shown."""

    accuracy: float | None = None
    cheap = False

    def __init__(self, name: str = "counting", digest: str = "d"):
        self.name, self.digest, self.shown = name, digest, 0

    def __call__(self, images: Tensor) -> Features:
        self.shown += len(images)
        return Features(images.float().flatten(1), images.float().flatten(1)[:, :3])


def pool(cache: Cache | None = None, key: str = "one", images: Tensor = IMAGES) -> Pool:
    return Pool(lambda n: Chunk(images[n * CHUNK : (n + 1) * CHUNK], None), len(images), cache, key)


# ---- pools


def test_features_of_the_first_images_do_not_depend_on_how_many_follow():
    few, many = pool().features(Counting(), 100), pool().features(Counting(), 700)
    assert few.vectors.shape == (100, 16)
    assert_close(few.vectors, many.vectors[:100], rtol=0, atol=0)
    assert_close(few.logits, many.logits[:100], rtol=0, atol=0)


def test_a_pool_grows_by_what_is_new_and_looks_at_nothing_twice():
    looked, images = Counting(), pool()
    for count, shown in ((10, CHUNK), (CHUNK, CHUNK), (CHUNK + 1, 2 * CHUNK), (20, 2 * CHUNK), (758, 758)):
        features = images.features(looked, count)
        assert_close(features.vectors, IMAGES[:count].float().flatten(1), rtol=0, atol=0)
        assert looked.shown == shown


def test_samples_are_made_once_and_as_many_as_are_asked_for():
    made: list[int] = []

    def read(number: int) -> Chunk:
        made.append(number)
        return Chunk(IMAGES[number * CHUNK : (number + 1) * CHUNK], torch.arange(CHUNK) + number)

    samples = Pool(read)
    assert_close(samples.images(300), IMAGES[:300], rtol=0, atol=0)
    assert_close(samples.labels(260), torch.cat([torch.arange(CHUNK), torch.arange(4) + 1]), rtol=0, atol=0)
    samples.features(Counting(), 200)
    assert made == [0, 1]


def test_a_set_of_few_images_has_as_many_neighbours_as_it_can_have():
    judged = Judged(pool(images=IMAGES[:4]), 4, lambda kind, weights: Counting(), {})
    assert judged.distances("any", k=3).shape == (4, 3)
    with pytest.raises(ValueError, match="k=4 neighbours among 4 points"):
        judged.distances("any", k=4)


# ---- the cache


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(str(tmp_path / "cache"))


def test_what_is_in_the_cache_is_not_looked_at_again(cache: Cache):
    first, again, more = Counting(), Counting(), Counting()
    expected = pool(cache).features(first, 300)
    assert_close(pool(cache).features(again, 300), expected, rtol=0, atol=0)
    assert (first.shown, again.shown) == (512, 0)
    assert_close(pool(cache).features(more, 700).vectors, IMAGES[:700].float().flatten(1), rtol=0, atol=0)
    assert more.shown == len(IMAGES) - 512


@pytest.mark.parametrize("change", ["content", "weights", "network", "none"])
def test_other_images_and_other_weights_have_a_place_of_their_own(cache: Cache, change: str):
    pool(cache).features(Counting(), 100)
    other = Counting(name="other" if change == "network" else "counting", digest="e" if change == "weights" else "d")
    pool(cache, "two" if change == "content" else "one").features(other, 100)
    assert other.shown == (0 if change == "none" else CHUNK)


def test_the_key_of_real_images_is_their_content():
    one, same = (make_run(*SMALL, "metric=[pixel_fid]").evaluator for _ in range(2))
    noise = make_run(*SMALL, "metric=[pixel_fid]", "dataset=synthetic", "dataset.count=100").evaluator
    assert one.pool("test").key == same.pool("test").key
    assert len({one.pool("test").key, one.pool("train").key, noise.pool("test").key}) == 3
    one.dataset.images[-1, 0, 0, 0] ^= 1
    assert one.pool("test").key != same.pool("test").key
    assert one.pool("train").key == same.pool("train").key


def test_who_comes_second_waits_and_takes_what_the_first_has_made(cache: Cache):
    order: list[str] = []
    begun = threading.Event()

    def slowly(found: Any) -> dict[str, Any] | None:
        assert found is None
        begun.set()
        time.sleep(0.5)
        order.append("made")
        return {"value": 3}

    def second(found: Any) -> dict[str, Any] | None:
        order.append("found" if found is not None else "nothing")
        return None if found is not None else {"value": 4}

    first = threading.Thread(target=cache.get_or_compute, args=("kind", "key", slowly))
    first.start()
    assert begun.wait(10)
    assert cache.get_or_compute("kind", "key", second) == {"value": 3}
    first.join()
    assert order == ["made", "found"]


def test_a_process_that_dies_at_work_leaves_the_place_to_the_next(cache: Cache):
    with pytest.raises(KeyError):
        cache.get_or_compute("kind", "key", lambda found: {}["not there"])
    assert cache.get_or_compute("kind", "key", lambda found: {"value": 1} if found is None else None) == {"value": 1}


@pytest.mark.parametrize(
    "damage", [b"", b"damaged", b"PK\x03\x04", None], ids=["empty", "text", "a cut zip", "another's"]
)
def test_a_damaged_file_is_named_and_made_anew(cache: Cache, caplog: pytest.LogCaptureFixture, damage: bytes | None):
    pool(cache).features(Counting(), 100)
    (path,) = cache.folder.rglob(cache_module.FILE)
    whole = path.read_bytes()
    if damage is None:
        torch.save({"key": "something else", "features": []}, path)
    else:
        path.write_bytes(damage)
    again = Counting()
    assert_close(pool(cache).features(again, 100).vectors, IMAGES[:100].float().flatten(1), rtol=0, atol=0)
    assert again.shown == CHUNK
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"{path} is damaged (" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert len(path.read_bytes()) == len(whole)


def test_code_in_a_cached_file_is_not_run(cache: Cache, tmp_path: Path):
    pool(cache).features(Counting(), 100)
    (path,) = cache.folder.rglob(cache_module.FILE)
    torch.save({"key": Touch(tmp_path / "touched")}, path)
    pool(cache).features(Counting(), 100)
    assert not (tmp_path / "touched").exists()


class Touch:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("where the folder should be")
    with pytest.raises(ConfigError, match=r"metric\.cache_dir=.*file cannot be written \(.*GAN_RUNNER_CACHE") as caught:
        pool(Cache(str(tmp_path / "file"))).features(Counting(), 3)
    assert len(caught.value.sentences) == 1
    with pytest.raises(ConfigError, match=r"metric\.cache_dir='' names no folder"):
        Cache("")


@pytest.mark.parametrize("metric", ["classifier_fid", "modes", "memorization", "conditional"])
def test_a_cache_that_cannot_be_written_is_told_before_the_training(tmp_path: Path, metric: str):
    (tmp_path / "file").write_text("where the folder should be")
    told = ("model.generator.conditioning=one_hot", "model.discriminator.conditioning=one_hot")
    with pytest.raises(ConfigError, match=r"metric\.cache_dir"):
        make_run(*SMALL, *told, f"metric=[{metric}]", f"metric.cache_dir={tmp_path / 'file'}")


def test_a_lock_is_not_left_behind(cache: Cache):
    cache.get_or_compute("kind", "key", lambda found: {"value": 1})
    (home,) = (cache.folder / "metrics").iterdir()
    assert not lock.is_held(home)


# ---- the protocol

OF_ALL = {"seed", "version", "precision", "weights"}


def test_every_value_says_by_what_protocol_it_was_taken():
    names = ("classifier_fid", "classifier_kid", "density_coverage", "pixel_precision_recall", "parzen", "modes")
    run = make_run(*SMALL, f"metric=[{','.join(names)}]", "metric.n_fake=50", "metric.n_real=70", "metric.seed=3")
    found = evaluate(run, "test")
    for protocol in found.protocols.values():
        assert protocol.keys() >= OF_ALL | {"n_fake"}
        assert (protocol["seed"], protocol["version"]) == (3, "0.1.0")
        assert (protocol["precision"], protocol["weights"]) == ("fp32", "ema")
    fid, kid = found.protocols["classifier_fid"], found.protocols["classifier_kid_std"]
    judge = run.evaluator.extractor("classifier")
    assert (fid["n_real"], fid["n_fake"], fid["split"]) == (70, 50, "test")
    assert (fid["features"], fid["features_hash"]) == (judge.name, judge.digest)
    assert fid["features_accuracy"] == judge.accuracy
    assert (kid["subsets"], kid["subset_size"]) == (100, 1000)
    assert found.protocols["coverage"]["k"] == 5
    assert found.protocols["pixel_recall"]["k"] == 3
    assert found.protocols["pixel_recall"]["features"] == "pixels 1x8x8"
    assert "features_accuracy" not in found.protocols["pixel_recall"]
    assert found.protocols["parzen"].items() >= {"n_validation": 1000, "n_real": 180, "split": "test"}.items()
    assert found.protocols["modes"]["features"] == judge.name


def test_live_weights_other_splits_and_several_features_are_told_apart():
    few = ("loss=semi_supervised", "dataset.labels_per_class=5", "train.ema_half_life_images=1000")
    names = "metric=[test_error,memorization,discriminator_gap,linear_probe]"
    stamps = evaluate(make_run(*SMALL, *few, names, "metric.n_fake=50"), "validation").protocols
    assert (stamps["test_error"]["split"], stamps["validation_error"]["split"]) == ("test", "validation")
    assert {stamps[name]["weights"] for name in ("test_error", "validation_error", "classifier_mifid")} == {"ema"}
    assert {stamps[name]["weights"] for name in ("discriminator_gap", "linear_probe")} == {"live"}
    assert stamps["memorization_ratio_pixels"]["features"] == "pixels 1x8x8"
    assert "features_accuracy" not in stamps["copying_pixels"]
    for name in ("memorization_ratio_features", "classifier_mifid", "memorization_distance", "one_nearest_neighbour"):
        assert stamps[name]["features"] == "classifier of the dataset"
    assert stamps["classifier_mifid"]["n_train"] == 1437
    off = make_run(*SMALL, "metric=[pixel_fid]", "metric.n_fake=50", "train.ema_half_life_images=0")
    assert (
        evaluate(
            off,
        ).protocols["pixel_fid"]["weights"]
        == "live"
    )
