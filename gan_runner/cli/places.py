"""The folders of the configuration and of the runs."""

from pathlib import Path

OUTPUTS = Path("outputs")
PACKAGE = Path(__file__).resolve().parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"


def choices_of(group: str) -> list[str]:
    """Returns the stock choices of a group, sorted."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))
