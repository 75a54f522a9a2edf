"""Tab completes gan-runner in bash: the table of docs/completion.md."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Command

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "completion.md").read_text()
TABLE = re.findall(r"^\| `(gan-runner .*?)` \| `(.*?)` \|$", PAGE, re.MULTILINE)
INSTALL = re.findall(r"^eval .*$", PAGE, re.MULTILINE)
PRESS = """
{install}
COMP_LINE='{line}' COMP_POINT={length} COMP_WORDS=({line}) COMP_CWORD={last}
{function}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(("line", "expected"), TABLE)
def test_the_suggestions(command: Command, monkeypatch: pytest.MonkeyPatch, line: str, expected: str):
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    answer = command("-sc", "query=bash")
    assert answer.code == 0, answer.err
    assert answer.out.split() == expected.split()


@pytest.mark.long
@pytest.mark.parametrize(("line", "expected"), TABLE)
def test_the_line_of_the_page_makes_bash_complete(in_tmp: Path, line: str, expected: str):
    (in_tmp / "bin").mkdir()
    program = in_tmp / "bin" / "gan-runner"  # as pip writes it
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom gan_runner.main import main\nsys.exit(main())\n")
    program.chmod(0o755)
    (install,) = INSTALL
    words = line.split()
    script = PRESS.format(
        install=install,
        line=line,
        length=len(line),
        last=len(words) - 1,
        function="$(complete -p gan-runner | sed 's/.*-F \\([^ ]*\\).*/\\1/')",
    )
    environment = {"PATH": f"{program.parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == expected.split(), done.stderr
