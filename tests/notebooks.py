"""Run the notebooks of the documentation with nbmake, and compare what their cells print with what they store.

`python -m tests.notebooks` runs those that need no service, and stores what their cells print now. Other outputs, such
as tables and figures, are not stored.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nbmake.nb_run import NotebookRun

from deploy.home import REPOSITORY

NOTEBOOKS = REPOSITORY / "docs" / "notebooks"
WITH_SERVICES = ("live_session_from_topics.ipynb",)
CELL_TIMEOUT_S = 600
"""A cell takes seconds. The limit ends a cell that hangs."""


def names_without_services() -> list[str]:
    return sorted(path.name for path in NOTEBOOKS.glob("*.ipynb") if path.name not in WITH_SERVICES)


def printed_by_cell(cells: list[Any]) -> list[str]:
    """Return the standard output of each code cell."""
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    return [
        "".join("".join(output["text"]) for output in cell["outputs"] if output.get("name") == "stdout")
        for cell in codes
    ]


def run_notebook(name: str, folder: Path, variables: dict[str, str]) -> list[Any]:
    """Run a copy of a notebook in `folder` with further environment variables, and return its cells with outputs.

    Fails with the traceback of the first cell that raises.
    """
    copy = folder / name
    copy.write_bytes((NOTEBOOKS / name).read_bytes())
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "IPYTHONDIR": str(folder / "ipython"), **variables}
    own |= {f"JUPYTER_{kind}_DIR": str(folder / "jupyter" / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    before = dict(os.environ)
    os.environ.update(own)  # the kernel takes over the environment of this process
    try:
        result = NotebookRun(copy, CELL_TIMEOUT_S).execute()
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert result.error is None, f"cell {result.error.failing_cell_index}: {result.error.trace}"
    cells: list[Any] = result.nb.cells
    return cells


def store_printed_output(name: str) -> None:
    """Run a notebook, and write what its cells print into the notebook."""
    with TemporaryDirectory(prefix="notebook-") as folder:
        printed = printed_by_cell(run_notebook(name, Path(folder), {"PLATFORM_HOME": folder}))
    book = json.loads((NOTEBOOKS / name).read_text())
    codes = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    for cell, text in zip(codes, printed, strict=True):
        stream = {"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}
        cell["outputs"] = [stream] if text else []
    (NOTEBOOKS / name).write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    for notebook_name in names_without_services():
        store_printed_output(notebook_name)
        print(f"wrote {notebook_name}", file=sys.stderr)
