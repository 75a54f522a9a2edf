"""The wheel carries the configuration, and trains from anywhere."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_wheel

ROOT = Path(__file__).parents[1]


def call(*command: str, cwd: Path, **environment: str) -> str:
    env = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_module_and_every_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In this process, with the tool that pip would call."""
    monkeypatch.chdir(ROOT)
    with zipfile.ZipFile(tmp_path / build_wheel(str(tmp_path))) as wheel:
        names = set(wheel.namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "gan_runner").rglob("*.py")}
    choices = {f"gan_runner/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert "gan_runner/conf/config.yaml" in choices
    assert modules | choices | {"gan_runner/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "conf/"))]


@pytest.mark.long
def test_the_wheel_trains_from_another_working_directory(tmp_path: Path):
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    call(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT), cwd=tmp_path)
    (wheel,) = tmp_path.glob("gan_runner-*.whl")
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    call(*pip, "install", "-q", "--no-deps", "--no-index", "--target", str(installed), str(wheel), cwd=tmp_path)
    where = "import gan_runner.main as m; print(m.__file__, m.CONF)"
    path = {"PYTHONPATH": str(installed)}
    assert call(sys.executable, "-c", where, cwd=elsewhere, **path).split() == [
        str(installed / "gan_runner" / "main.py"),
        str(installed / "gan_runner" / "conf"),
    ]
    arguments = ("loss=wgan_gp", "train.total_steps=5", "device=cpu", "name=run")
    call(sys.executable, "-m", "gan_runner", *arguments, cwd=elsewhere, **path)
    summary = json.loads((elsewhere / "outputs" / "run" / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("completed", 5)
    script = installed / "bin" / "gan-runner"
    assert "is finished" in call(sys.executable, str(script), *arguments, cwd=elsewhere, **path)
