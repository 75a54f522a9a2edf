"""The folders have an order: a file imports only from below, in no cycle, and writes to no object of another."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "gan_runner"
ORDER = (  # from the bottom; a unit is a folder or a module of the root
    ("errors",),
    ("spec", "schedule", "storage", "distributed"),
    ("noise", "nn"),
    ("protocols", "device"),
    ("model", "loss", "dataset", "augment", "metric", "records", "tracker"),
    ("game", "evaluation"),
    ("health", "sampling"),
    ("training",),
    ("assembly", "comparison"),
    ("cli", "benchmarking"),
    ("main", "sample", "evaluate", "compare", "data", "networks", "benchmark", "reproduce", "export"),
    ("film",),
    ("latent",),
    ("__main__", "interface"),
)
LEVEL = {unit: level for level, units in enumerate(ORDER) for unit in units}
MOST_IN_THE_ROOT = 16
MOST_LINES = {"class": 200, "function": 40, "file": 300}
LONG_FILES = {  # with the reason
    "dataset/cache.py": "one packing, which must be read as a whole to be believed safe against kills",
}
LONG_FUNCTIONS = {  # constructors that list and check every setting
    *("augment/ada.py", "dataset/image_folder.py", "device.py"),
}
WRITTEN_ELSEWHERE = {  # file -> attributes of others that it assigns to, each for this reason
    "cli/compose.py": {"hydra._internal.hydra.ConfigLoaderImpl"},  # Hydra offers no other way to its loader
    "cli/search.py": {"sweeper.n_trials"},  # Hydra's callback changes the sweeper's configuration in place
    "device.py": {  # torch's own global switches
        "torch.backends.cuda.matmul.allow_tf32",
        "torch.backends.cudnn.allow_tf32",
        "torch.backends.cudnn.benchmark",
    },
    "game/recording.py": {"parameter.grad"},  # where torch keeps a gradient
    "interface/isolation.py": {  # puts torch's switches back
        "torch.backends.cuda.matmul.allow_tf32",
        "torch.backends.cudnn.allow_tf32",
        "torch.backends.cudnn.benchmark",
    },
    "loss/double_backward.py": {"ctx.slope", "ctx.geometry", "ctx.first"},  # torch's autograd.Function keeps them there
    "model/layers.py": {"layer.weight"},  # torch's way to set a weight that a norm splits into parts
    "nn/statistics.py": {"norm.momentum"},  # a layer of torch's, put back after its statistics are estimated
}
MAY_USE_HYDRA = ("assembly", "cli", "main", "networks", "data", "benchmark")
USERS = (
    "mine/loss/quadratic.yaml",
    "quadratic.py",
)  # files that the docs tell the reader to write
HEAVY = ("torchvision", "sklearn", "scipy", "matplotlib", "torch_fidelity")


@cache
def trees() -> dict[str, ast.Module]:
    """Path in the package -> syntax tree."""
    paths = (path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py")
    return {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in paths}


def unit(file: str) -> str:
    """model/mlp.py is of `model`, device.py is `device`."""
    return file.split("/", maxsplit=1)[0].removesuffix(".py")


def imports(tree: ast.Module, top_level_only: bool = False) -> Iterator[str]:
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(tree: ast.Module) -> set[str]:
    """Modules of the package, as paths in it."""
    names = (name.split(".")[1:] for name in imports(tree) if name.startswith("gan_runner."))
    paths = ("/".join(parts[:depth]) + ".py" for parts in names for depth in (1, 2, 3))
    return {path for path in paths if path in trees()}


def test_every_file_has_a_place_in_the_order():
    assert {unit(file) for file in trees()} == set(LEVEL)


def test_a_file_imports_only_from_below_hydra_stops_at_the_commands_and_heavy_libraries_wait():
    upward = [
        f"{file} imports {used}"
        for file, tree in trees().items()
        for used in own_imports(tree)
        if unit(used) != unit(file) and LEVEL[unit(used)] >= LEVEL[unit(file)]
    ]
    hydra = [
        f"{file} imports {name}"
        for file, tree in trees().items()
        for name in imports(tree)
        if name.split(".")[0] in ("hydra", "omegaconf") and unit(file) not in MAY_USE_HYDRA
    ]
    heavy = [
        f"{file} imports {name} when it is imported itself"
        for file, tree in trees().items()
        for name in imports(tree, top_level_only=True)
        if name.split(".")[0] in HEAVY
    ]
    assert upward + hydra + heavy == []


def test_no_modules_import_one_another_in_a_circle():
    below = {file: own_imports(tree) - {file} for file, tree in trees().items()}
    while free := {file for file, used in below.items() if not used & below.keys()}:
        below = {file: used for file, used in below.items() if file not in free}
    assert below == {}


def test_nobody_assigns_to_an_attribute_of_another_object():
    found: dict[str, set[str]] = {}
    for file, tree in trees().items():
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in (part for each in targets if each is not None for part in parts(each)):
                if isinstance(target, ast.Attribute) and ast.unparse(target.value) not in ("self", "cls"):
                    found.setdefault(file, set()).add(ast.unparse(target))
    assert found == WRITTEN_ELSEWHERE


def parts(target: ast.AST) -> list[ast.AST]:
    if isinstance(target, ast.Tuple | ast.List):
        return [part for each in target.elts for part in parts(each)]
    return [target]


def test_nothing_is_too_long():
    root = [file for file in trees() if "/" not in file]
    assert len(root) <= MOST_IN_THE_ROOT
    long = {file for file in trees() if len((PACKAGE / file).read_text().splitlines()) > MOST_LINES["file"]}
    assert long == LONG_FILES.keys()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for file, tree in trees().items():
        for node in ast.walk(tree):
            kind = "class" if isinstance(node, ast.ClassDef) else "function" if isinstance(node, functions) else None
            if kind is not None and not (kind == "function" and file in LONG_FUNCTIONS):
                assert node.end_lineno - node.lineno < MOST_LINES[kind], f"{file}: {node.name}"


def test_a_step_is_a_page():
    tree = trees()["game/algorithm.py"]
    step = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "step")
    assert step.end_lineno - step.lineno < 15
    assert len((PACKAGE / "game/algorithm.py").read_text().splitlines()) <= 150


def test_files_that_the_docs_name_exist():
    root = PACKAGE.parent
    for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        for name in re.findall(r"`((?:[\w]+/)*[\w]+\.(?:py|yaml))`", page.read_text()):
            known = (root / name, PACKAGE / name, PACKAGE / "loss" / name, root / "docs" / name)
            places = (*known, *(root / "tests").rglob(name))
            assert "NAME" in name or name in USERS or any(place.exists() for place in places), f"{page.name}: {name}"
