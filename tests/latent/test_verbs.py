"""The verbs of `python -m gan_runner.latent`, on small runs: what their images are, by other code than their own."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn
from torch.testing import assert_close

import gan_runner as gr
from gan_runner.errors import ConfigError
from gan_runner.latent import truncate as truncation
from gan_runner.latent.__main__ import main
from gan_runner.latent.directions import factorised, first_weights
from gan_runner.latent.generator import load
from gan_runner.latent.interpolate import classes, interpolate
from gan_runner.latent.mixing import can_mix, mixed
from gan_runner.latent.neighbours import neighbours
from gan_runner.latent.plane import grid, plane_map
from gan_runner.latent.prior import within
from gan_runner.latent.project import project
from gan_runner.model.dcgan import DCGANGenerator
from gan_runner.model.dcgan_conditional import ConditionalDCGANGenerator
from gan_runner.model.latent import Latent
from gan_runner.model.mlp import MLPGenerator
from gan_runner.records.folder import RunFolder
from gan_runner.spec import ImageSpec
from tests.conftest import SMALL, Command, train_in

OVERRIDES = (*SMALL, "train.total_steps=4", "train.checkpoint_every=2", "optimizer.lr=0.01")
BY_CLASS = ("model.generator.conditioning=embedding", "model.discriminator.conditioning=projection")
UNIFORM = ("model.latent.distribution=uniform", "model.latent.low=0", "model.latent.high=1")
SPEC = ImageSpec(1, 8, 8, 3)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    overrides = (*OVERRIDES, "metric=pixel_precision_recall", "metric.pixel_precision_recall.n_fake=100")
    return train_in(tmp_path_factory.mktemp("outputs") / "run", *overrides)


@pytest.fixture(scope="module")
def by_class(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_in(tmp_path_factory.mktemp("outputs") / "by_class", *OVERRIDES, *BY_CLASS)


@pytest.fixture(scope="module")
def uniform(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train_in(tmp_path_factory.mktemp("outputs") / "uniform", *OVERRIDES, *UNIFORM)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    overrides = (*OVERRIDES, "dataset=ring8", "model=toy", "model.latent.dim=2")
    return train_in(tmp_path_factory.mktemp("outputs") / "points", *overrides)


@pytest.fixture
def latent(entry_point: Command) -> Command:
    return partial(entry_point, main)


def sampled(folder: RunFolder, seed: int, count: int, **options) -> np.ndarray:
    """(count, C, H, W) uint8, as `sample` writes them."""
    return gr.load(folder.path).sample(count, seed, **options).numpy().transpose(0, 3, 1, 2)


def stacks(film: gr.Film, *numbers: int) -> np.ndarray:
    """Images (frames, N, C, H, W) of some frames, by default of all."""
    return np.stack(list(film.stacks(numbers or range(film.count)))).astype(int)


# ---- interpolate, classes


def test_the_frames_of_seeds_are_the_images_of_sample(plain: RunFolder):
    film = interpolate(load(plain.path), [3, 0, 7], frames=5, paths=4)
    assert film.count == 15
    for number, seed in enumerate((3, 0, 7)):
        assert np.abs(stacks(film, 5 * number)[0] - sampled(plain, seed, 4)).max() <= 1


@pytest.mark.parametrize("run", ["plain", "by_class", "uniform"])
def test_a_loop_has_no_jump_at_its_seam(run: str, request: pytest.FixtureRequest):
    cross = {"cross": True} if run == "by_class" else {}
    frames = stacks(interpolate(load(request.getfixturevalue(run).path), range(4), frames=12, paths=3, **cross))
    steps = np.abs(frames - np.roll(frames, 1, axis=0)).mean(axis=(1, 2, 3, 4))
    assert 0 < steps[0] <= steps[1:].max()
    assert steps.max() < np.abs(frames[0] - frames[24]).mean() / 3


def test_an_open_path_ends_at_the_last_seed(plain: RunFolder):
    film = interpolate(load(plain.path), [0, 1], frames=4, loop=False)
    assert film.count == 5
    assert np.abs(stacks(film, 4)[0] - sampled(plain, 1, 1)).max() <= 1


def test_a_path_keeps_its_class_or_crosses_to_the_next(by_class: RunFolder):
    for cross, second in ((False, ["3", "7"]), (True, ["7", "3"])):
        film = interpolate(load(by_class.path), [0, 1], 4, paths=2, labels=["3", "7"], cross=cross)
        found = stacks(film, 0, 4)
        assert np.abs(found[0] - sampled(by_class, 0, 2, labels=["3", "7"])).max() <= 1
        assert np.abs(found[1] - sampled(by_class, 1, 2, labels=second)).max() <= 1


def test_a_strip_of_classes_has_the_images_of_each_class(by_class: RunFolder):
    film = classes(load(by_class.path), seed=2, count=3)
    found = stacks(film, *film.keys)
    for label in range(10):
        assert np.abs(found[label] - sampled(by_class, 2, 3, labels=[label])).max() <= 1


@pytest.mark.parametrize("conditioning", ["one_hot", "embedding", "norm"])
def test_a_full_mixture_is_the_other_class_and_a_half_one_is_neither(conditioning: str):
    network = MLPGenerator(SPEC, Latent(8), (16,), conditioning=conditioning).eval()
    for parameter in network.parameters():  # conditional norms begin with one gain for all classes
        nn.init.normal_(parameter)
    z, first, second = torch.randn(5, 8), torch.zeros(5).long(), torch.full((5,), 2)
    found = []
    for share in (0.0, 0.5, 1.0):
        with mixed(network, second, torch.full((5,), share)), torch.no_grad():
            found.append(network(z, first))
    assert_close(found[0], network(z, first))
    assert_close(found[2], network(z, second))
    assert min((found[1] - other).abs().mean() for other in (found[0], found[2])) > 0.01
    assert can_mix(network, z)


def test_half_a_mixture_of_embeddings_is_their_mean():
    network = MLPGenerator(SPEC, Latent(8), (16,), conditioning="embedding").eval()
    seen: list[torch.Tensor] = []
    z, first, second = torch.randn(2, 8), torch.zeros(2).long(), torch.ones(2).long()
    network.join.register_forward_hook(lambda layer, inputs, found: seen.append(found))
    with mixed(network, second, torch.full((2,), 0.5)):
        network(z, first)
    assert_close(seen[0][0, 8:], network.join.embedding.weight[:2].mean(0))
    assert_close(seen[0][:, :8], z)


def test_classes_that_cannot_be_mixed_are_noticed():
    network = ConditionalDCGANGenerator(ImageSpec(1, 28, 28, 10), Latent(8)).eval()
    assert not can_mix(network, torch.randn(2, 8))


# ---- truncate


def test_the_last_column_of_truncate_is_sample_and_its_costs_are_those_of_evaluate(plain: RunFolder):
    generator = load(plain.path)
    film = truncation.truncate(generator, [0.5, float("inf")], seed=1, count=4)
    assert np.abs(stacks(film, 1)[0] - sampled(plain, 1, 4)).max() <= 1
    assert np.abs(stacks(film, 0)[0] - sampled(plain, 1, 4)).mean() > 1
    small, whole = truncation.costs(generator, [0.1, float("inf")], truncation.metrics_of(generator))
    assert whole.values == dict(gr.load(plain.path).evaluate())
    assert small.values["pixel_recall"] <= whole.values["pixel_recall"]


# ---- directions


@pytest.mark.parametrize("conditioning", ["none", "embedding"])
def test_directions_are_the_right_singular_vectors_of_a_linear_layer(conditioning: str):
    network = MLPGenerator(SPEC, Latent(8), (16,), conditioning=conditioning).eval()
    found = factorised(network, torch.randn(1, 8), torch.zeros(1).long())
    first = next(layer for layer in network.layers if isinstance(layer, nn.Linear))
    _, values, right = torch.linalg.svd(first.weight[:, :8].detach())
    assert_close((found * right).sum(1).abs(), torch.ones(8), rtol=1e-4, atol=1e-4)
    assert_close((first.weight[:, :8] @ found.T).norm(dim=0), values, rtol=1e-4, atol=1e-4)


def test_the_first_direction_changes_the_maps_of_a_transposed_convolution_most():
    network = DCGANGenerator(ImageSpec(1, 28, 28), Latent(8), width=4).eval()
    found = factorised(network, torch.randn(1, 8), None)
    layer = next(layer for layer in network.modules() if isinstance(layer, nn.ConvTranspose2d))
    change = layer(found[:, :, None, None]).flatten(1).norm(dim=1)
    assert (change[:-1] >= change[1:] - 1e-6).all()
    others = nn.functional.normalize(torch.randn(200, 8), dim=1)
    assert layer(others[:, :, None, None]).flatten(1).norm(dim=1).max() <= change[0]


def test_a_generator_whose_first_layer_does_not_take_z_is_refused():
    class Squares(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, z, labels):
            return self.layer(z.square())

    with pytest.raises(ConfigError, match="no linear layer or convolution of Squares takes z itself"):
        first_weights(Squares(), torch.randn(1, 4), None)


def test_the_middle_of_a_row_of_directions_is_the_latent_itself(plain: RunFolder):
    film = gr.load(plain.path).directions(seed=4, count=3)
    found = stacks(film, *film.keys)
    assert found.shape[:2] == (9, 3)
    assert np.abs(found[4] - sampled(plain, 4, 1)).max() <= 1
    assert [film.titles[key] for key in (film.keys[0], film.keys[4], film.keys[8])] == ["-5.0", "+0.0", "+5.0"]


# ---- neighbours


def test_neighbours_are_those_of_a_search_by_hand(plain: RunFolder):
    found = neighbours(load(plain.path), seed=1, count=3, k=4)
    from gan_runner.dataset.digits import Digits

    train = Digits().split("train").images.numpy().astype(float).reshape(-1, 64) / 255
    samples = sampled(plain, 1, 3).astype(float).reshape(3, 64) / 255
    distances = np.sqrt(((samples[:, None] - train) ** 2).sum(2))
    nearest = np.sort(distances, axis=1)[:, :4]
    assert np.abs(found.distances.numpy() - nearest).max() < 0.02  # a level of a pixel
    shown = stacks(found.film)[1:, :, 0].reshape(4, 3, 64) / 255
    assert np.abs(np.sqrt(((samples - shown) ** 2).sum(2)).T - nearest).max() < 0.02


# ---- project


@pytest.mark.parametrize("run", ["plain", "uniform"])
def test_an_image_of_the_generator_is_found_again(run: str, request: pytest.FixtureRequest, tmp_path: Path):
    folder = request.getfixturevalue(run)
    image = sampled(folder, 50, 1)[0, 0].astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.png")
    found = project(load(folder.path), tmp_path / "photo.png", steps=150)
    assert found.errors[0] < 0.02 < found.first_errors.min()
    assert (found.errors.sort().values[0] - found.errors[0]).abs() < 0.01
    assert torch.equal(found.latents, within(load(folder.path).prior, found.latents))
    last = stacks(found.film, found.film.count - 1)[0]
    assert np.array_equal(last[0, 0], image)
    error = np.sqrt(((last[1:] - last[:1]) ** 2).mean(axis=(1, 2, 3))) / 255
    assert np.abs(error - found.errors.numpy()).max() < 0.003


def test_a_conditional_projection_finds_the_class_and_its_latents_can_be_moved_on(latent, by_class, tmp_path: Path):
    Image.fromarray(sampled(by_class, 9, 1, labels=["6"])[0, 0].astype(np.uint8)).save(tmp_path / "photo.png")
    found = project(load(by_class.path), tmp_path / "photo.png", steps=60, features="none", labels=["6"])
    assert found.labels is not None
    assert found.labels.tolist() == [6] * 4
    assert found.feature_errors is None
    path = found.save(tmp_path / "z.npz")
    out = tmp_path / "way.png"
    assert latent(by_class.path, "interpolate", "--latents", path, "--labels", "6", "--out", out).code == 0
    assert np.asarray(Image.open(out)).shape == (32, 16 * 33 - 1)


def test_features_of_a_discriminator_that_compares_images_are_refused(tmp_path: Path):
    folder = train_in(tmp_path / "run", *OVERRIDES, "model.pack=2")
    Image.new("L", (8, 8)).save(tmp_path / "photo.png")
    with pytest.raises(ConfigError, match=r"compares images of a batch, .* use --features none"):
        project(load(folder.path), tmp_path / "photo.png", steps=1)
    assert len(project(load(folder.path), tmp_path / "photo.png", steps=1, features="none").errors) == 4


# ---- map


def test_the_lines_of_the_map_span_the_prior(points: RunFolder):
    lines = grid(load(points.path))
    assert lines.shape == (2 * 33, 200, 2)
    assert (lines.min(), lines.max()) == (-3, 3)
    assert (lines[:33, :, 0].std(dim=1) == 0).all()
    assert (lines[33:, :, 1].std(dim=1) == 0).all()


def test_the_map_ends_where_the_points_of_the_generator_lie(points: RunFolder, monkeypatch: pytest.MonkeyPatch):
    drawn: list[torch.Tensor] = []

    def record(real: torch.Tensor, lines: torch.Tensor, colours: torch.Tensor) -> np.ndarray:
        drawn.append(lines)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("gan_runner.latent.plane.drawn", record)
    generator = load(points.path)
    film = plane_map(generator)
    stacks(film, 0, film.count - 1)
    lines = grid(generator)
    assert_close(drawn[0], lines)
    with torch.no_grad():
        assert_close(drawn[1].flatten(0, 1), generator.sampler.network(lines.flatten(0, 1), None).flatten(1))


# ---- the command


@pytest.mark.parametrize(
    "arguments",
    [
        ["interpolate", "--seeds", "0-2", "--frames", "2"],
        ["directions", "--count", "2"],
        ["neighbours", "--count", "2", "--k", "2"],
        ["project", "--image", "photo.png", "--steps", "2"],
        ["truncate", "--psi", "1,2", "--n-fake", "50"],
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_each_verb_writes_the_same_bytes_again(latent, plain, in_tmp: Path, arguments: list[str], suffix: str):
    Image.new("RGB", (30, 20), "gray").save("photo.png")
    for name in "ab":
        answer = latent(plain.path, *arguments, "--out", f"{name}{suffix}")
        assert (answer.code, answer.out.splitlines()[-1]) == (0, f"{name}{suffix}")
    assert Path(f"a{suffix}").read_bytes() == Path(f"b{suffix}").read_bytes()


def test_by_default_it_writes_into_the_run_folder(latent, plain: RunFolder, points: RunFolder):
    answer = latent(plain.path, "directions", "--checkpoint", "2")
    assert answer.out.strip() == str(plain.path / "samples" / "directions-step-00000002.png")
    answer = latent(points.path, "map")
    assert Image.open(points.path / "samples" / "map-step-00000004.png").size == (600, 600)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["interpolate", "--seeds", "3"], "needs two seeds"),
        (["interpolate", "--cross"], "does not use labels"),
        (["interpolate", "--labels", "3"], "--labels=3"),
        (["interpolate", "--frames", "0"], "--frames=0"),
        (["interpolate", "--paths", "257"], "257"),
        (["interpolate", "--seeds", "0-50", "--out", "x.gif"], "1530 frames"),
        (["interpolate", "--latents", "none.npz"], "--latents=none.npz"),
        (["classes"], "does not use labels"),
        (["truncate", "--psi", "0"], "--psi=0"),
        (["truncate", "--metric", "fif"], "fif"),
        (["directions", "--count", "9"], "--count=9"),
        (["directions", "--steps", "1"], "--steps=1"),
        (["directions", "--extent", "nan"], "--extent=nan"),
        (["neighbours", "--k", "9999"], "--k=9999"),
        (["project", "--image", "none.png", "--weight", "-1"], "--weight=-1"),
        (["project", "--image", "none.png"], "--image=none.png"),
        (["project", "--image", "/dev/null", "--steps", "0"], "--steps=0"),
        (["map"], "map is for runs on points"),
        (["directions", "--checkpoint", "3"], "--checkpoint=3"),
        (["directions", "--out", "x.bmp"], "--out=x.bmp"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence(latent, plain, in_tmp: Path, arguments: list[str], words: str):
    answer = latent(plain.path, *arguments)
    assert (answer.code, len(answer.err.strip().splitlines())) == (2, 1)
    assert words in answer.err


def test_points_have_no_pictures_and_the_sentence_names_the_map(latent, points: RunFolder):
    for verb in ("interpolate", "directions", "neighbours"):
        answer = latent(points.path, verb)
        assert (answer.code, "this run makes points" in answer.err, "map" in answer.err) == (2, True, True)


def test_a_run_without_precision_and_recall_has_the_pictures_alone(latent, by_class, in_tmp: Path):
    answer = latent(by_class.path, "truncate", "--out", "x.png")
    assert (answer.code, answer.out.strip()) == (0, "x.png")
    assert "name one, as --metric pixel_precision_recall" in answer.err


def test_a_class_that_the_folder_names_is_not_executed(latent, plain, in_tmp: Path):
    shutil.copytree(plain.path, "run")
    config = RunFolder(Path("run")).read_config()
    assert config is not None
    config["dataset"] = {"_target_": "os.system", "command": "touch executed"}
    Path("run/config.yaml").write_text(yaml.safe_dump(config))
    for verb in ("interpolate", "neighbours", "truncate"):
        assert latent("run", verb).code == 2
    assert not Path("executed").exists()


def test_the_methods_of_a_model_write_what_the_command_writes(latent, plain, in_tmp: Path):
    model = gr.load(plain.path)
    films = {
        "interpolate": model.interpolate(range(2), frames=2),
        "truncate": model.truncate([1.0]),
        "neighbours": model.neighbours(count=2, k=2).film,
        "project": model.project(plain.path / "samples" / "real.png", steps=3).film,
    }
    options = {
        "interpolate": ["--seeds", "0-1", "--frames", 2],
        "truncate": ["--psi", "1", "--n-fake", 50],
        "neighbours": ["--count", 2, "--k", 2],
        "project": ["--image", plain.path / "samples" / "real.png", "--steps", 3],
    }
    for verb, film in films.items():
        assert latent(plain.path, verb, *options[verb], "--out", "command.webp").code == 0
        assert film.save("method.webp").read_bytes() == Path("command.webp").read_bytes()
    assert model.truncation_costs([1.0, 2.0]).index.tolist() == [1.0, 2.0]
    assert len(gr.training_film(plain.path)) == len(list((plain.path / "samples").glob("step-*.png")))


# ---- refusals and names of files


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("interpolate", "--seeds", "a-b"),
            "argument --seeds: 'a-b' should be 1 to 100000 seeds, such as 0-7 or 0,3,9",
        ),
        (("truncate", "--psi", "a"), "argument --psi: 'a' should be numbers with commas between, such as 0.5,1,inf"),
        (("interpolate", "--paths", "0"), "--paths=0 must be between 1 and 256."),
        (("truncate", "--count", "0"), "--count=0 must be between 1 and 256."),
        (("neighbours", "--n-train", "0"), "--n-train=0 must be at least 1."),
    ],
)
def test_a_wrong_value_is_named_with_its_option(latent: Command, plain: RunFolder, arguments, sentence: str):
    answer = latent(plain.path, *arguments)
    assert answer.code == 2
    assert answer.err.splitlines()[-1].endswith(sentence)


def test_a_chosen_average_has_files_of_its_own(latent: Command, tmp_path: Path):
    run = train_in(tmp_path / "run", *OVERRIDES, "train.ema_half_life_images=[10,1000]")
    for average in ((), ("--average", "1000")):
        assert latent(run.path, "interpolate", "--seeds", "0-1", "--frames", "1", *average).code == 0
    names = {path.name for path in (run.path / "samples").glob("interpolate-*")}
    assert names == {"interpolate-step-00000004.webp", "interpolate-average-1000-step-00000004.webp"}
