"""User errors give one sentence with the setting and the fix, exit code 2, and leave no files."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.errors import HydraException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf.errors import OmegaConfBaseException

from gan_runner.assembly.build import build
from gan_runner.cli.compose import explained
from gan_runner.errors import ConfigError
from gan_runner.records.identity import chosen_name
from tests.conftest import SMALL, Answer, Command, configure, some, train_in

SMALLEST = (*SMALL, "train.total_steps=1")

# setting -> values that are of the wrong type or out of range; the sentence names the setting
VALUES: dict[str, list[str]] = {
    "seed": ["abc", "1.5", "null", "true", "[0]"],
    "train.total_steps": ["0", "-1", "abc", "1.5", "[1]", "true", "nan"],
    "train.total_images": ["0", "-5", "abc"],
    "train.total_seconds": ["0", "-1", "nan", "abc"],
    "train.batch_size": ["0", "-1", "abc", "1.5", "null", "10000000000000"],
    "train.generator_batch_size": ["0", "-1", "abc", "10000000000000"],
    "train.accumulate": ["0", "-1", "3", "abc", "null"],
    "train.ema_half_life_images": ["-1", "abc", "nan", "null"],
    "train.log_every": ["0", "-1", "abc", "null"],
    "train.sample_every": ["0", "-1", "abc"],
    "train.checkpoint_every": ["0", "-1", "abc"],
    "train.keep_checkpoints": ["0", "-1", "abc"],
    "train.grid": ["0", "-1", "abc", "10000000000000"],
    "train.fresh": ["abc", "2", "null"],
    "train.on_divergence": ["restart", "null", "3"],
    "train.total_step": ["3"],
    "model.latent.dim": ["0", "-1", "abc", "null"],
    "model.latent.distribution": ["gaussian", "null", "3"],
    "model.weights.generator": ["spectrl", "3", "null"],
    "model.generator.widths": ["3", "abc", "null", "[0]", "[-4]", "[1.5]", "[a]"],
    "model.generator.activation": ["swish", "null", "3"],
    "model.generator.norm": ["bach", "null", "instance"],
    "model.generator.dropout": ["-0.1", "1.5", "abc"],
    "model.discriminator.widths": ["3"],
    "model.discriminator.minibatch": ["std", "null", "3"],
    "model.discriminator.norm": ["spectral", "3"],
    "loss.n_critic": ["0", "-1", "abc", "1.5", "null", "???"],
    "loss.n_critic_burst": ["0", "abc"],
    "optimizer.lr": ["-1", "abc", "nan", "null", "[1]"],
    "optimizer.betas": ["0.5", "[0.5]", "[0.5,0.999,0.9]", "abc"],
    "optimizer.schedule.shape": ["step", "null"],
    "optimizer.schedule.start": ["-1", "abc"],
    "optimizer.schedule.warmup_steps": ["-1", "abc"],
    "device.kind": ["gpu", "null"],
    "device.precision": ["fp64", "fp16", "tf32", "half"],
    "device.penalty_precision": ["bf16"],
    "device.compile": ["abc", "2"],
    "device.deterministic": ["3"],
    "name": ["../x", "a/b", "/x", ".x", "'a b'", "''"],
    "study": ["../x", "a/b", "/x", ".x"],
}

# overrides -> words of the sentence
TOGETHER: list[tuple[list[str], list[str]]] = [
    (["loss=wgn"], ["loss/wgn", "gan", "wgan_gp"]),
    (["model=mpl"], ["model/mpl", "mlp", "dcgan"]),
    (["dataset=imagenet"], ["dataset/imagenet", "digits"]),
    (["augment=cutmix"], ["augment/cutmix", "diffaugment"]),
    (["augment=diffaugment", "augment.policy=[colour]"], ["augment.policy='colour'", "did you mean 'color'"]),
    (["augment=diffaugment", "augment.policy=[]"], ["augment.policy=[]", "augment=none"]),
    (["augment=ada", "augment.rotate90=2"], ["augment.rotate90=2.0", "0 to 1"]),
    (["augment=ada", "augment.probability=2"], ["augment.probability=2.0", "0 to 1"]),
    (["augment=ada", "augment.probability=half"], ["augment.probability='half'", "of type"]),
    (["augment=flip", "augment.probability=-0.1"], ["augment.probability=-0.1", "0 or more"]),
    (
        ["augment=ada", "augment.probability={_target_: gan_runner.schedule.Schedule, end: 1.5}"],
        ["augment.probability.end=1.5", "0 to 1"],
    ),
    (["augment=ada", "loss=wgan_gp"], ["augment.probability=null", "augment.probability=0.2"]),
    (["augment=ada", "dataset=ring8", "model=toy"], ["augment (ADA) is for pictures", "augment=none"]),
    (["augment=flip", "dataset=ring8", "model=toy"], ["augment (Flip) is for pictures", "augment=none"]),
    (["~augment"], ["augment is missing"]),
    (["loss=base/objective"], ["loss=base/objective is none of", "wgan_gp"]),
    (["optimizer=sdg"], ["optimizer/sdg", "adam"]),
    (["device=tpu"], ["device/tpu", "cpu"]),
    (["experiment=none"], ["experiment/none"]),
    (["optimizer.lr=[1"], ["'[1'"]),
    (["=1"], ["group override"]),
    (["optimizer.betas=[2.0,0.9]"], ["optimizer.generator", "beta", "2.0"]),
    (["model.discriminator.widths=[1000000,1000000]"], ["model.discriminator takes 20,001.3 GB of memory"]),
    (["seed"], ["seed"]),
    (["experiment=null"], ["group override must be a string"]),
    (["nonsense=1"], ["nonsense is no setting"]),
    (["train.total_step=3"], ["train.total_step is no setting", "did you mean 'train.total_steps'"]),
    (["loss=wgan_gp", "loss.penalties.gradient.wieght=3"], ["did you mean 'loss.penalties.gradient.weight'"]),
    (["train=null"], ["train=None should be a group of settings"]),
    (["train.total_steps=null", "train.total_seconds=inf"], ["train.total_seconds=inf should be a finite number"]),
    (["+loss.penalties.x=5"], ["loss.penalties.x=5 is no penalty"]),
    (["+loss.penalties.x={weight:1}"], ["loss.penalties.x={'weight': 1} is no penalty"]),
    (["loss.constraint={a:1}"], ["loss.constraint={'a': 1} is no constraint"]),
    (["loss.constraint={_target_:gan_runner.loss.adversarial.Wasserstein}"], ["loss.constraint=Wasserstein is no"]),
    (["model.generator._target_=gan_runner.model.mlp.MLPDiscriminator"], ["model.generator=MLPDiscriminator cannot"]),
    (
        ["model.discriminator._target_=gan_runner.model.mlp.MLPGenerator", "~model.discriminator.minibatch"],
        ["MLPGenerator has no setting 'output'"],
    ),
    (
        [
            *("model.discriminator._target_=gan_runner.model.mlp.MLPGenerator", "~model.discriminator.minibatch"),
            "~model.discriminator.output",
        ],
        ["model.discriminator returns shape"],
    ),
    (["+nonsense=1"], ["'nonsense' is no setting"]),
    (["seed=${oc.env:NOWHERE}"], ["NOWHERE"]),
    (["seed=${nowhere}"], ["nowhere"]),
    (["loss=[gan,wgan]"], ["loss=[gan,wgan] should be one choice"]),
    (["~loss"], ["loss is missing"]),
    (["~seed"], ["seed is missing"]),
    (["~train"], ["train is missing"]),
    (["~model.generator"], ["model.generator is missing"]),
    (["~dataset._target_"], ["dataset._target_ is missing"]),
    (["+model.foo=1"], ["model has no part 'foo'"]),
    (["model.weights=null"], ["model.weights=None should be a group"]),
    (["+model.weights.critic=none"], ["model.weights", "'critic'"]),
    (["loss=sngan", "model.weights.discriminator=weight"], ["layers.0", "loss.constraint=null"]),
    (["+model.generator.depth=3"], ["model.generator", "'depth'"]),
    (["+dataset.rot=x"], ["dataset", "'rot'"]),
    (["+loss.lambda=10"], ["loss", "'lambda'"]),
    (["+train.epochs=3"], ["train", "'epochs'"]),
    (["model.generator._target_=nowhere.Network"], ["model.generator", "nowhere"]),
    (["model.generator._target_=gan_runner.model.mlp.Nothing"], ["model.generator", "Nothing"]),
    (["~dataset", "+dataset._target_=gan_runner.spec.Batch", "+dataset.images=1"], ["no ImageDataset"]),
    (["train.freeze=2"], ["train.freeze=2 should be of type Mapping[str, int], typed as train.freeze.NAME=VALUE"]),
    (["train.freeze=null"], ["train.freeze=null should be of type Mapping[str, int]"]),
    (
        ["train.ema_half_life_images=[100,inf]"],
        ["train.ema_half_life_images=[100, inf] should have finite numbers"],
    ),
    (["train.total_steps={_target_: gan_runner.schedule.Schedule}"], ["train.total_steps", "of type int | None"]),
    (["loss=acgan", "loss.weight={_target_: gan_runner.schedule.Schedule}"], ["loss.weight", "of type float"]),
    (["model.discriminator.conditioning=classifier", "model.generator.conditioning=one_hot"], ["choose loss=acgan"]),
    (
        ["optimizer.betas=[0.0,{_target_: gan_runner.schedule.Schedule, shape: linear, start: 0.9, end: 1.5}]"],
        ["optimizer.generator", "1.5"],
    ),
    (
        ["optimizer.schedule.shape=linear", "optimizer.schedule.hold_steps=9999999"],
        ["it never moves"],
    ),
    (["dataset=synthetic", "dataset.count=8", "loss=semi_supervised", "train.batch_size=2"], ["test split"]),
    (["loss=wgan", "model.weights.discriminator=spectral"], ["clips weights", "model.weights.discriminator=none"]),
    (["model.discriminator.minibatch=stddev", "train.accumulate=2"], ["train.accumulate must be 1", "minibatch=none"]),
    (["train.total_steps=null"], ["total_steps=null leaves the run without an end"]),
    (["loss=wgan_gp", "model.discriminator.norm=batch"], ["layers.3", "norm=layer"]),
    (["loss=wgan_gp", "model.discriminator.minibatch=stddev"], ["layers.4", "model.discriminator.minibatch=none"]),
    (
        ["train.batch_size=1", "train.generator_batch_size=2", "model.discriminator.norm=batch"],
        ["train.batch_size", "batch norm", "norm=layer"],
    ),
    (
        ["loss=wgan_gp", "+loss.constraint._target_=gan_runner.loss.constraint.WeightClipping"],
        ["loss.constraint=null", "loss.penalties.gradient=null"],
    ),
    (
        ["loss=began", "model.discriminator.output=score"],
        ["BoundaryEquilibrium", "discriminator.output=absolute_error"],
    ),
    (["model.discriminator.output=energy"], ["output='energy'", "squared_error"]),
    (["loss=lsgan", "loss.adversarial.c=nan"], ["loss.adversarial.c=nan should be a finite number"]),
    (["loss.instance_noise=inf"], ["loss.instance_noise=inf should be a finite number"]),
    (["loss.instance_noise={start:1}"], ["loss.instance_noise={'start': 1} should be a number, or a schedule"]),
    (["loss=r1", "loss.penalties.gradient.weight={start:1}"], ["loss.penalties.gradient.weight={'start': 1}"]),
    (["dataset=ring8", "model=toy", "dataset.modes=2000000000"], ["dataset.modes=2000000000", "10000"]),
    (["dataset=grid25", "model=toy", "dataset.side=1000000"], ["dataset.side=1000000", "10000"]),
    (["loss=acgan", "dataset=ring8"], ["conditioning=one_hot needs labels"]),
    (["model.generator.conditioning=one_hot"], ["model.generator takes the labels and model.discriminator does not"]),
    (["loss=wgan", "loss.constraint.bound=0"], ["loss.constraint.bound=0"]),
    (["loss=wgan_gp", "loss.penalties.gradient.at=lines"], ["loss.penalties.gradient.at", "line"]),
    (["loss=wgan_gp", "loss.penalties.gradient.weight=-1"], ["loss.penalties.gradient.weight"]),
    (["loss=wgan_gp", "loss.penalties.gradient.power=0"], ["loss.penalties.gradient.power"]),
    (["loss=wgan_gp", "loss.penalties.gradient.every=0"], ["loss.penalties.gradient.every"]),
    (["loss=wgan_gp", "loss.penalties.gradient.center=-1"], ["loss.penalties.gradient.center"]),
    (["optimizer.schedule.shape=linear", "train.total_steps=null", "train.total_seconds=5"], ["optimizer.schedule"]),
    (["dataset=mnist", "dataset.root=/dev/null"], ["dataset.root=/dev/null", "GAN_RUNNER_DATA"]),
    (["dataset=point_masses", "dataset.distance=abc"], ["dataset.distance"]),
    (["device=cuda"], ["kind=cuda", "device=cpu"]),
    (["metric=clasifier_fid"], ["metric/clasifier_fid", "classifier_fid"]),
    (["metric=[classifier_fid,nothing]"], ["metric=nothing is none of", "classifier_fid"]),
    (["metric=pixel_fid", "metric.n_fake=1"], ["n_fake=1 must be at least 2"]),
    (["metric=pixel_fid", "metric.n_fake=many"], ["metric.pixel_fid.n_fake='many' should be of type int"]),
    (["metric=pixel_fid", "metric.n_real=181"], ["n_real=181 is more than the 180 images"]),
    (["metric=pixel_fid", "metric.seed=x"], ["metric.seed='x' should be a whole number"]),
    (["metric=pixel_fid", "metric.cache_dir=''"], ["metric.cache_dir='' names no folder"]),
    (["metric=pixel_fid", "metric.pixel_fid.features=vgg"], ["metric.pixel_fid.features='vgg'", "vgg16"]),
    (["metric=pixel_kid", "metric.pixel_kid.subset_size=1"], ["subset_size=1 must be at least 2"]),
    (["metric=pixel_kid", "metric.pixel_kid.subsets=0"], ["subsets=0 must be at least 1"]),
    (["metric=pixel_precision_recall", "metric.pixel_precision_recall.k=0"], ["k=0 must be at least 1"]),
    (["metric=classifier_score", "metric.n_fake=5"], ["splits=10 must be between 1 and n_fake=5"]),
    (["metric=classifier_fid", "dataset=synthetic", "dataset.num_classes=0"], ["needs labels", "pixel_ metric"]),
    (["metric=[fid]", "dataset=ring8", "model=toy"], ["needs images", "dataset has points"]),
    (["metric=parzen", "dataset=ring8", "model=toy"], ["pixels from 0 to 1", "dataset has points"]),
    (["metric=memorization", "dataset=ring8", "model=toy"], ["always draws new ones"]),
    (
        ["metric=sliced_wasserstein", "metric.sliced_wasserstein.pyramid=true", "dataset=ring8", "model=toy"],
        ["pyramid=false"],
    ),
    (["metric=fid", "dataset=synthetic", "dataset.channels=2"], ["gray or colour images", "2 channels"]),
    (["metric=conditional"], ["metric.conditional", "takes no class"]),
    (["metric=test_error"], ["metric.test_error", "loss=semi_supervised"]),
    (["metric=held_out_wasserstein"], ["metric.held_out_wasserstein", "loss=wgan"]),
    (["metric=pixel_fid", "dataset=synthetic", "dataset.count=8"], ["held out", "metric=[]"]),
    (["+metric.own={_target_: nowhere.Metric}"], ["metric.own._target_=nowhere.Metric cannot be found"]),
    (["+metric.own=3"], ["metric.own=3 is neither a metric"]),
    (["--config-name", "nothing"], ["nothing"]),
    (["--config-dir", "/nowhere"], ["/nowhere"]),
]
ROWS = [([f"{key}={value}"], [key.rsplit(".", 1)[-1]]) for key, values in VALUES.items() for value in values] + TOGETHER


TABLE = {" ".join(arguments): (arguments, words) for arguments, words in ROWS}
OF_THE_COMMAND = (
    "--config-name nothing",
    "--config-dir /nowhere",
    "loss=[gan,wgan]",
    "loss=base/objective",
)  # refused in front of a build
COMPOSED = {name: row for name, row in TABLE.items() if name not in OF_THE_COMMAND}
# One row of each kind of mistake goes through the whole command.
KINDS = {
    "no folder of configurations": "--config-dir /nowhere",
    "no such configuration": "--config-name nothing",
    "no override": "seed",
    "no key": "=1",
    "a bracket that is not closed": "optimizer.lr=[1",
    "an unknown choice": "loss=wgn",
    "two choices": "loss=[gan,wgan]",
    "what choices share": "loss=base/objective",
    "a choice that is null": "experiment=null",
    "an unknown setting": "train.total_step=3",
    "an unknown setting that is added": "+nonsense=1",
    "a setting that the object lacks": "+loss.lambda=10",
    "an object that cannot be imported": "model.generator._target_=nowhere.Network",
    "an interpolation that leads nowhere": "seed=${nowhere}",
    "a variable that is not set": "seed=${oc.env:NOWHERE}",
    "a value that is missing": "loss.n_critic=???",
    "a group that is missing": "~loss",
    "a value of another type": "seed=abc",
    "a value out of range": "train.batch_size=0",
    "a value that is none of the names": "model.generator.activation=swish",
    "a list in the place of a number": "optimizer.lr=[1]",
    "a rule across objects": "loss=wgan_gp model.discriminator.norm=batch",
    "more memory than there is": "model.discriminator.widths=[1000000,1000000]",
    "a device that is not there": "device=cuda",
    "a metric that does not apply": "metric=test_error",
    "a name that is a path": "name=../x",
    "a study that is a path": "study=../x",
}
REAL = ("seed=${nowhere}",)
THROUGH_THE_COMMAND = (  # a mistake for each part of the program that finds one
    *("--config-dir /nowhere", "--config-name nothing", "seed", "optimizer.lr=[1", "loss=wgn", "train.total_step=3"),
    *("seed=${nowhere}", "loss.n_critic=???", "train.batch_size=0", "loss=wgan_gp model.discriminator.norm=batch"),
    *("device=cuda", "metric=test_error", "study=../x"),
)


def sentences(arguments: list[str]) -> list[str]:
    """Of the ConfigError over these overrides, as the command composes, names and builds."""
    try:
        config = configure(*SMALLEST, *arguments)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return str(explained(error, arguments)).splitlines()
    except ConfigError as error:
        return list(error.sentences)
    try:
        for key in ("name", "study"):
            if config[key] is not None:
                chosen_name(key, config[key])
        build(config)
    except ConfigError as error:
        return list(error.sentences)
    raise AssertionError("nothing was refused")


def check_sentences(given: list[str], words: list[str]) -> None:
    """One sentence; two where one setting is the default of another."""
    assert 1 <= len(given) <= 2, given
    for word in words:
        assert all(word in sentence for sentence in given), given


@pytest.mark.parametrize("row", COMPOSED.values(), ids=COMPOSED)
def test_a_mistake_is_one_sentence_with_the_setting_and_the_fix(in_tmp: Path, row: tuple[list[str], list[str]]):
    arguments, words = row
    check_sentences(sentences(arguments), words)
    assert list(in_tmp.iterdir()) == []


@pytest.mark.parametrize("row", some(TABLE, THROUGH_THE_COMMAND))
def test_a_mistake_ends_the_command_with_exit_code_2_and_no_folder(command: Command, row: tuple[list[str], list[str]]):
    arguments, words = row
    check(command(*SMALLEST, *arguments), words)


@pytest.mark.parametrize("row", some({kind: TABLE[kind] for kind in KINDS.values()}, REAL))
def test_a_mistake_ends_a_real_process_in_the_same_way(in_tmp: Path, row: tuple[list[str], list[str]]):
    arguments, words = row
    check(real_command(*SMALLEST, *arguments), words)


@pytest.mark.parametrize("typed", ["~train", "train=3", "train=null", "~device"])
def test_a_group_that_is_none_is_refused_whatever_is_in_the_folder(command: Command, typed: str):
    """Before anything of it is read: whether the run is finished, what it selects by."""
    answer = command(typed, "name=run")
    assert answer.code == 2, answer
    assert answer.err.startswith(typed.strip("~").split("=")[0])
    assert answer.err.count("\n") == 1


def test_every_kind_of_mistake_is_in_the_table():
    assert set(KINDS.values()) | set(OF_THE_COMMAND) <= TABLE.keys()
    assert set(REAL) <= set(KINDS.values())


def check(answer: Answer, words: list[str]) -> None:
    assert answer.code == 2, answer
    assert "Traceback" not in answer.out + answer.err
    check_sentences(answer.err.strip().splitlines(), words)
    assert not list(Path("outputs").glob("*"))


def real_command(*arguments: str) -> Answer:
    command = [sys.executable, "-m", "gan_runner", *arguments]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    env.pop("HYDRA_FULL_ERROR", None)
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)


def test_mistakes_of_several_rules_are_told_together(command: Command):
    answer = command(*SMALLEST, "loss=wgan_gp", "model.discriminator.norm=batch", "train.accumulate=3")
    assert answer.code == 2
    assert len(answer.err.strip().splitlines()) == 3  # both batch sizes, and the norm


def test_a_variable_that_leads_nowhere_is_told(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GAN_RUNNER_DATA", "/dev/null")
    check(command(*SMALLEST, "dataset=mnist"), ["dataset.root=/dev/null"])


NUMBERS = {
    "seed": st.integers(),
    "train.batch_size": st.integers(-3, 40),
    "train.accumulate": st.integers(-1, 5),
    "train.ema_half_life_images": st.floats(),
    "train.grid": st.integers(-1, 20),
    "model.latent.dim": st.integers(-1, 20),
    "model.generator.dropout": st.floats(),
    "loss.n_critic": st.integers(-1, 3),
    "optimizer.lr": st.floats(),
    "optimizer.schedule.start": st.floats(),
    "optimizer.schedule.warmup_steps": st.integers(-2, 10**9),
    "loss.penalties.gradient.weight": st.floats(),
    "loss.penalties.gradient.center": st.floats(),
    "loss.penalties.gradient.power": st.floats(),
    "loss.penalties.gradient.every": st.integers(-1, 10),
}


def check_any_number(command: Command, data: st.DataObject) -> None:
    """Divergence is an answer too: a learning rate of 1e300 is a number."""
    shutil.rmtree("outputs", ignore_errors=True)
    chosen = data.draw(st.dictionaries(st.sampled_from(sorted(NUMBERS)), st.none(), min_size=1, max_size=3))
    typed = [f"{key}={data.draw(NUMBERS[key], label=key)!r}" for key in chosen]
    answer = command(*SMALLEST, "loss=wgan_gp", *typed)
    assert answer.code in (0, 2, 3), answer
    assert "Traceback" not in answer.out + answer.err
    if answer.code == 2:
        assert any(key.rsplit(".", 1)[-1] in answer.err for key in chosen), answer.err
        assert not list(Path("outputs").glob("*"))


def with_examples(count: int) -> settings:
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@with_examples(3)
@given(data=st.data())
def test_any_number_trains_or_is_refused_in_a_sentence(command: Command, data: st.DataObject):
    check_any_number(command, data)


@pytest.mark.long
@with_examples(25)
@given(data=st.data())
def test_many_numbers_train_or_are_refused_in_a_sentence(command: Command, data: st.DataObject):
    check_any_number(command, data)


# ---- folders and files


@pytest.fixture
def trained(in_tmp: Path) -> Path:
    train_in(in_tmp / "outputs" / "run", *SMALLEST, "name=run")
    return in_tmp / "outputs" / "run"


def other_configuration(run: Path) -> None:
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("seed: 0", "seed: 7"))


def damaged_configuration(run: Path) -> None:
    (run / "config.yaml").write_text("a: [")


def no_configuration(run: Path) -> None:
    (run / "config.yaml").unlink()


def damaged_checkpoints(run: Path) -> None:
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:100])


def another_runs_checkpoint(run: Path) -> None:
    other = train_in(run.parent / ".other", *SMALLEST, "optimizer.lr=0.5")
    shutil.copytree(other.checkpoints, run / "checkpoints", dirs_exist_ok=True)
    shutil.rmtree(other.path)


def a_file_for_checkpoints(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").write_text("")


def a_folder_for_metrics(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (other_configuration, ["seed was 7, now 0", "name=", "train.fresh=true"]),
        (damaged_configuration, ["config.yaml is damaged", "train.fresh=true"]),
        (no_configuration, ["config.yaml is missing", "train.fresh=true"]),
        (damaged_checkpoints, ["none of the 1 checkpoints", "train.fresh=true"]),
        (another_runs_checkpoint, ["step-00000001.pt was made by another configuration: optimizer", "was 0.5, now"]),
        (a_file_for_checkpoints, ["outputs/run cannot be written", "File exists"]),
        (a_folder_for_metrics, ["outputs/run cannot be written", "Is a directory"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_folder_that_was_spoiled_is_told(trained: Path, command: Command, spoil, words: list[str]):
    spoil(trained)
    answer = command(*SMALL, "train.total_steps=3", "name=run")
    assert answer.code == 2, answer
    assert "Traceback" not in answer.out + answer.err
    last = answer.err.strip().splitlines()[-1]
    for word in words:
        assert word in last


@pytest.mark.skipif(os.geteuid() == 0, reason="to root nothing is read-only")
@pytest.mark.parametrize("place", ["outputs", "outputs/run"])
def test_a_folder_that_may_not_be_written_is_told(trained: Path, command: Command, place: str):
    folder = trained.parents[1] / place
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        answer = command(*SMALL, "train.total_steps=3", "name=other" if place == "outputs" else "name=run")
    finally:
        folder.chmod(stat.S_IRWXU)
    assert answer.code == 2
    assert "Permission denied" in answer.err


def test_a_file_in_the_place_of_outputs_is_told(command: Command, in_tmp: Path):
    (in_tmp / "outputs").write_text("")
    answer = command(*SMALLEST)
    assert answer.code == 2
    assert "outputs" in answer.err


def test_a_folder_that_vanishes_is_told(trained: Path, command: Command, monkeypatch: pytest.MonkeyPatch):
    from gan_runner.training.run import Run

    step = Run.step

    def vanishing(run: Run) -> dict:
        if run.clock.steps == 2:
            shutil.rmtree(trained)
        return step(run)

    monkeypatch.setattr(Run, "step", vanishing)
    answer = command(*SMALL, "train.total_steps=5", "name=run")
    assert answer.code == 2
    assert "outputs/run is gone" in answer.err
    assert not trained.exists()
