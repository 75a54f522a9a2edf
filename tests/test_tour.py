"""The notebook of docs/ runs from the first cell to the last, and is stored with its pictures."""

import json
import re
from pathlib import Path

import pytest

TOUR = Path(__file__).parents[1] / "docs" / "tour.ipynb"
LARGEST = 1_500_000  # bytes


def code_cells() -> list[dict]:
    return [cell for cell in json.loads(TOUR.read_text())["cells"] if cell["cell_type"] == "code"]


def test_the_stored_notebook_was_run_in_order_and_shows_its_pictures():
    cells = code_cells()
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"display_data", "execute_result", "stream"}
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 8
    assert TOUR.stat().st_size < LARGEST
    assert not re.search(r"/(home|root|work|tmp|Users)/", TOUR.read_text())


def printed(cells: list[dict]) -> list[list[str]]:
    """The numbers at the ends of the printed lines of each cell that prints."""
    streams = ["".join(o["text"]) for cell in cells for o in cell.get("outputs", []) if o["output_type"] == "stream"]
    return [re.findall(r"[\d.]+(?=%?$)", text, re.MULTILINE) for text in streams]


@pytest.mark.long
def test_the_notebook_runs(tmp_path: Path):
    """About three minutes on two cores. The packages are installed here, so that its first cell installs nothing."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(TOUR, 4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    numbers = printed(notebook.cells)
    assert list(map(len, numbers)) == list(map(len, printed(code_cells())))
    estimate, norm = map(float, numbers[1])
    assert estimate == pytest.approx(2.2, abs=0.01)
    assert norm == pytest.approx(1.1, abs=0.01)
