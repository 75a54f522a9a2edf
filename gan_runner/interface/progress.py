"""Progress of a training that was started in Python: lines in a terminal, a bar and pictures in a notebook."""

import html
import logging
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from gan_runner.records.console import GAP, LogHandler, Progress, logging_to

WIDTH = 240  # pixels of the bar


def in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this process, which shows HTML and pictures."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def shown(folder: Path) -> AbstractContextManager[None]:
    """Shows the log messages of the run in `folder`."""
    return logging_to(NotebookHandler(folder) if in_notebook() else LogHandler())


class NotebookHandler(logging.Handler):
    """Shows messages as text, and the present progress and the newest picture in one place each."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.bar: Any = None  # handles of IPython's displays
        self.picture: Any = None
        self.drawn: Path | None = None

    def emit(self, record: logging.LogRecord) -> None:
        progress = getattr(record, "progress", None)
        if progress is None:
            sys.stdout.write(f"{record.getMessage()}\n")
            return
        self.show_bar(progress)
        self.show_picture()

    def show_bar(self, progress: Progress) -> None:
        from IPython.display import HTML, display

        content = HTML(bar(progress))
        if self.bar is None:
            self.bar = display(content, display_id=True)
        else:
            self.bar.update(content)

    def show_picture(self) -> None:
        from IPython.display import Image, display

        newest = newest_picture(self.folder)
        if newest is None or newest == self.drawn:
            return
        content, self.drawn = Image(data=newest.read_bytes(), format="png"), newest
        if self.picture is None:
            self.picture = display(content, display_id=True)
        else:
            self.picture.update(content)


def bar(progress: Progress) -> str:
    first, *rest = progress.fields
    share = f'<progress max="1" value="{progress.share:.4f}" style="width: {WIDTH}px"></progress>'
    return f"<code>{html.escape(first)}</code> {share} <code>{html.escape(GAP.join(rest))}</code>"


def newest_picture(folder: Path) -> Path | None:
    """Returns the picture of the highest step in a run folder; None if there is none."""
    return max((path for path in (folder / "samples").glob("step-*.png") if not path.is_symlink()), default=None)
