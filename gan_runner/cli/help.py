"""The text that --help prints."""

from pathlib import Path

from omegaconf import OmegaConf

from gan_runner.cli.compose import config_loader

HELP = """\
Train a generative adversarial network; compare losses fairly.

python -m gan_runner [group=choice ...] [setting=value ...]

== Groups ==
{choices}

== Examples ==
python -m gan_runner loss=wgan_gp                        one run, in outputs/loss=wgan_gp
python -m gan_runner dataset=mnist train.total_seconds=600
python -m gan_runner -m loss=gan,wgan_gp seed=0,1,2      a sweep; again: only what is missing
python -m gan_runner dataset=mnist augment=diffaugment   where images are few
python -m gan_runner --cfg job loss=wgan_gp              the composed settings, without training

Both networks, layer by layer: python -m gan_runner.networks model=dcgan dataset=mnist
How fast it trains: python -m gan_runner.benchmark model=dcgan dataset=synthetic
How long it will take: python -m gan_runner.benchmark loss=wgan_gp --estimate
How good a run is: python -m gan_runner.evaluate outputs/default --metric classifier_fid
Which run is better, and how surely: python -m gan_runner.compare outputs/*
Images from a run: python -m gan_runner.sample outputs/default
Curves and pictures: tensorboard --logdir outputs
"""


def help_text() -> str:
    return HELP.format(choices=choices_of_groups())


def choices_of_groups() -> str:
    """Returns a line of choices for each group: files one folder deep, without the shared ones in base/."""
    folders = [Path(source.path) for source in config_loader().get_sources() if source.scheme() == "file"]
    choices: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in folder.glob("*/*.yaml")):
        choices.setdefault(path.parent.name, set()).add(path.stem)
    return "\n".join(f"{group}: {', '.join(sorted(choices[group]))}" for group in sorted(choices) if group != "hydra")


OmegaConf.register_new_resolver("help", help_text, replace=True)  # hydra.help.template refers to this name
