"""In a notebook, training shows a bar and the newest pictures, each in one place."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_runner.interface import progress
from gan_runner.records.console import Progress
from tests.conftest import SMALL

OVERRIDES = (*SMALL, "train.total_steps=8", "train.log_every=2", "train.sample_every=4")


class Place:
    """What one display of a notebook shows, first and later."""

    def __init__(self, content: Any):
        self.shown = [content]

    def update(self, content: Any) -> None:
        self.shown.append(content)


def test_the_bar_and_the_picture_keep_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    places: list[Place] = []

    def display(content: Any, display_id: bool) -> Place:
        places.append(Place(content))
        return places[-1]

    module = SimpleNamespace(display=display, HTML=str, Image=lambda data, format: data)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=module))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    handler = progress.NotebookHandler(tmp_path)
    (tmp_path / "samples").mkdir()

    def log(message: str, **extra: Any) -> None:
        handler.handle(logging.makeLogRecord({"msg": message, **extra}))

    for step in (1, 2, 3):
        if step > 1:
            Image.fromarray(np.full((4, 4), step, np.uint8)).save(
                tmp_path / "samples" / f"step-{2 * (step // 2):08d}.png"
            )
        log("", progress=Progress(step / 4, [f"step {step}", "<D> 1"]))
    log("done")
    assert capsys.readouterr().out == "done\n"
    bar, drawn = places
    assert [f'value="{step / 4:.4f}"' in shown for step, shown in enumerate(bar.shown, 1)] == [True] * 3
    assert "&lt;D&gt; 1" in bar.shown[0]
    assert len(drawn.shown) == 1  # the second picture has the name of the first, and is not shown again
    assert drawn.shown[0].startswith(b"\x89PNG")


@pytest.mark.long
def test_a_notebook_shows_the_training_and_the_results(in_tmp: Path):
    nbclient, nbformat = (
        pytest.importorskip(name, reason=f"needs {name}: pip install nbclient ipykernel")
        for name in ("nbclient", "nbformat")
    )
    cells = [
        f"import gan_runner as gr\nrun = gr.train(gr.compose(*{OVERRIDES!r}))",
        "run",
        "run.load().sample(9)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(in_tmp)}}).execute()
    trained, result, samples = (cell["outputs"] for cell in notebook["cells"])
    texts = "".join(output["text"] for output in trained if output["output_type"] == "stream")
    assert "folder     outputs/" in texts
    assert "step 4" not in texts  # the progress is the bar
    shown = [output["data"] for output in trained if output["output_type"] == "display_data"]
    assert [sorted(set(data) - {"text/plain"}) for data in shown] == [["text/html"], ["image/png"]]
    assert 'value="1.0000"' in shown[0]["text/html"]
    assert "completed, 8 steps" in result[0]["data"]["text/html"]
    assert "data:image/png;base64," in result[0]["data"]["text/html"]
    assert "image/png" in samples[0]["data"]
