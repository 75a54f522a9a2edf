"""The examples of docs/python.md run, in their order, from the page itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import gan_runner as gr

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_names_every_function_and_exception():
    assert [name for name in gr.__all__ if f"`{name}" not in PAGE and f"`gr.{name}" not in PAGE] == []


@pytest.mark.long  # trains four runs
def test_the_examples_of_the_page_run(in_tmp: Path):
    assert len(BLOCKS) == 8
    code = "\n".join(BLOCKS).replace('"train.total_steps=200"', '"train.total_steps=200", "device=cpu"')
    page = in_tmp / "page.py"
    page.write_text(code)
    done = subprocess.run([sys.executable, page.name], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "completed 200 outputs/first/default" in done.stdout
    assert "completed 200 outputs/first/loss=wgan_gp" in done.stdout


@pytest.mark.long  # mypy reads torch first
def test_a_users_file_is_typed(in_tmp: Path):
    (in_tmp / "user.py").write_text(
        "import gan_runner as gr\n\n"
        'run = gr.train(gr.compose("loss=wgan_gp"))\n'
        "reveal_type(run.status)\n"
        'reveal_type(gr.load("run").sample(4, labels=[3, "5"]).numpy())\n'
        'reveal_type(gr.load("run").evaluate(["fid"])["fid"])\n'
        'gr.load("run").sample("4")\n'
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent", "user.py"]
    environment = {"MYPYPATH": str(ROOT), "PATH": "", "MYPY_CACHE_DIR": str(in_tmp / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    found = done.stdout.splitlines()
    assert [line for line in found if " error: " in line] == [line for line in found if line.startswith("user.py:7:")]
    assert 'user.py:4: note: Revealed type is "str"' in done.stdout.replace("builtins.", "")
    assert "ndarray" in done.stdout
    assert 'user.py:6: note: Revealed type is "float"' in done.stdout.replace("builtins.", "")
    assert 'user.py:7: error: Argument 1 to "sample" of "Model" has incompatible type "str"' in done.stdout
