"""The notebooks run offline, print what they store, and store nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.home import REPOSITORY
from tests.notebooks import NOTEBOOKS, names_without_services, printed_by_cell, run_notebook

ALL = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))


def stored(name: str) -> dict[str, Any]:
    book: dict[str, Any] = json.loads((NOTEBOOKS / name).read_text())
    return book


@pytest.mark.parametrize("name", names_without_services())
def test_a_notebook_prints_what_it_stores(name: str, tmp_path: Path) -> None:
    cells = run_notebook(name, tmp_path, {"PLATFORM_HOME": str(tmp_path / "var")})
    assert printed_by_cell(cells) == printed_by_cell(stored(name)["cells"])
    shown = {kind for cell in cells for output in cell.get("outputs", ()) for kind in output.get("data", ())}
    assert "text/html" in shown or "text/plain" not in shown


@pytest.mark.parametrize("name", ALL)
def test_a_notebook_stores_only_printed_text_and_names_no_machine(name: str) -> None:
    book = stored(name)
    codes = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert {output["name"] for cell in codes for output in cell["outputs"]} <= {"stdout"}
    assert {cell["execution_count"] for cell in codes} == {None}
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    text = (NOTEBOOKS / name).read_text()
    assert str(REPOSITORY) not in text and "/home/" not in text and "/tmp/" not in text  # noqa: S108
    assert book["cells"][0]["cell_type"] == "markdown" and book["cells"][0]["source"][0].startswith("# ")
