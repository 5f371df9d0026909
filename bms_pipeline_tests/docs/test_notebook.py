"""The notebook of the documentation runs from its first cell to its last on a real home, and holds no output."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from bms_pipeline import frames
from bms_pipeline_tests.running import Home, running_home

NOTEBOOK = Path(__file__).parents[2] / "docs" / "explore.ipynb"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A small tenant after its first sync."""
    with running_home(tmp_path_factory.mktemp("notebook")) as found:
        assert found.call("sync", "--create-unmatched").returncode in (0, 2)
        yield found


def shown(notebook: nbformat.NotebookNode, cell: str) -> str:
    """What the cell of this id shows as text."""
    (found,) = (each for each in notebook.cells if each.id == cell)
    return "".join(output.data["text/plain"] for output in found.outputs if "data" in output)


@pytest.mark.filterwarnings("default")  # of the libraries under a notebook
def test_each_cell_runs_and_shows_a_table(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMS_PIPELINE_HOME", str(home.folder))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(home.folder)}}).execute()
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        assert shown(notebook, cell.id), cell.id
    assert frames.plan(home.folder)["hash"].item() in shown(notebook, "plan")
    assert "Empty DataFrame" not in "".join(
        shown(notebook, cell) for cell in ("counts", "reasons", "standings", "loads")
    )


def test_no_output_of_anybodys_tenant_is_kept() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count] == []
