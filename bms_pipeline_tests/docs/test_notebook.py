"""The notebook of the documentation runs from its first cell to its last on a real home, and holds no output."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bms_pipeline import frames
from bms_pipeline_tests.running import Home, running_home

NOTEBOOK: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "docs" / "explore.ipynb").read_text(encoding="utf-8")
)
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A small tenant after its first sync."""
    with running_home(tmp_path_factory.mktemp("notebook")) as found:
        assert found.call("sync", "--create-unmatched").returncode in (0, 2)
        yield found


def run(cell: dict[str, Any], variables: dict[str, Any]) -> Any:
    """Run the cell as a notebook does; the value of its last line, which a notebook shows."""
    *before, last = ast.parse("".join(cell["source"])).body
    assert isinstance(last, ast.Expr), "each cell shows a table"
    exec(compile(ast.Module(before, []), cell["id"], "exec"), variables)
    return eval(compile(ast.Expression(last.value), cell["id"], "eval"), variables)


def test_each_cell_runs_and_shows_a_table(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMS_PIPELINE_HOME", str(home.folder))
    variables: dict[str, Any] = {}
    shown = {cell["id"]: run(cell, variables) for cell in CODE}
    for cell, table in shown.items():
        assert isinstance(table, pd.DataFrame), cell
        assert len(table) > 0, cell
    assert frames.plan(home.folder)["hash"].item() in shown["plan"].to_string()
    assert shown["counts"].loc["All", "All"] == len(frames.operations(home.folder))


def test_no_output_of_anybodys_tenant_is_kept() -> None:
    assert [cell["id"] for cell in CODE if cell["outputs"] or cell["execution_count"]] == []
    assert NOTEBOOK["nbformat"] == 4
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
