"""Imports point down: doors > build > compat > session > run > player > leaves > ground."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gan_runner"
GROUND = (
    *("spec", "noise", "schedule", "protocols", "errors", "files", "lock", "weights"),
    *("ranks", "torchrun", "sync_norm", "passes"),
)
LEAVES = (
    "device",
    "folder",
    "checkpoint",
    "ema",
    "health",
    "logger",
    "meter",
    "interrupt",
    "launch",
    "environment",
    "console",
    "plot",
    "model",
    "loss",
    "dataset",
    "augment",
    "metric",
)
ORDER = (
    GROUND,
    LEAVES,
    ("player",),
    ("sampler", "sweep", "trust", "comparison"),
    ("evaluator",),
    ("capture", "probe"),
    ("run",),
    ("session", "textbook"),
    ("compat",),
    ("build",),
    ("main", "sample"),
    ("__main__", "compare", "data", "evaluate", "networks", "search"),
    ("benchmark",),
)
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
MAY_USE_HYDRA = ("benchmark", "build", "data", "evaluate", "main", "networks", "sample", "search")
ALLOWED_BETWEEN_LEAVES = {("environment", "device")}  # the environment is that of the device
HEAVY = ("torchvision", "sklearn", "scipy", "matplotlib", "torch_fidelity")
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def part(path: Path) -> str:
    """The module of the table that a file belongs to: `model/mlp.py` is of `model`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_from_below(path: Path):
    own = part(path)
    used = {name.split(".")[1] for name in imports(path) if name.startswith("gan_runner.") and name.count(".") > 0}
    for name in used & LEVEL.keys():
        below = LEVEL[name] < LEVEL[own] or name == own or (own in GROUND and name in GROUND)
        assert below or (own, name) in ALLOWED_BETWEEN_LEAVES, f"{own} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_hydra_stops_at_the_door_and_heavy_libraries_wait(path: Path):
    if part(path) not in MAY_USE_HYDRA:
        assert not {name for name in imports(path) if name.split(".")[0] in ("hydra", "omegaconf")}
    assert not {name for name in imports(path, top_level_only=True) if name.split(".")[0] in HEAVY}


def test_the_ground_has_no_cycle():
    below: dict[str, set[str]] = {
        name: {i.split(".")[1] for i in imports(PACKAGE / f"{name}.py") if i.startswith("gan_runner.")}
        for name in GROUND
    }
    while free := {name for name, used in below.items() if not used & below.keys()}:
        below = {name: used for name, used in below.items() if name not in free}
    assert not below


def test_every_file_has_a_place_in_the_table():
    assert {part(path) for path in FILES} == set(LEVEL)
