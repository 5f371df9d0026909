"""How often a file is opened, and who gets in meanwhile."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from bms_pipeline.core.errors import PipelineError
from bms_pipeline.warehouse import connection
from bms_pipeline.warehouse.connection import Warehouse, kept_open


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    with warehouse.open():
        pass
    return warehouse


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    made: list[Path] = []
    connect = connection.connect

    def counted(file: Path, wait_seconds: float) -> duckdb.DuckDBPyConnection:
        made.append(file)
        return connect(file, wait_seconds)

    monkeypatch.setattr(connection, "connect", counted)
    return made


def is_free(warehouse: Warehouse) -> bool:
    """Whether nobody in this process has the file open: with other settings it opens only then."""
    try:
        with closing(duckdb.connect(str(warehouse.file), config={"memory_limit": "300MB"})):
            return True
    except duckdb.Error:
        return False


def test_an_opening_inside_another_opens_nothing(warehouse: Warehouse, openings: list[Path]) -> None:
    with warehouse.open(), Warehouse(warehouse.file).transaction() as inner:
        inner.execute("CREATE TEMP TABLE mine AS SELECT 1")
    assert len(openings) == 1
    assert is_free(warehouse)


def test_a_kept_file_is_opened_once_and_closed_at_the_end(warehouse: Warehouse, openings: list[Path]) -> None:
    with kept_open():
        for _ in range(3):
            with warehouse.transaction():
                pass
        assert not is_free(warehouse)
    assert len(openings) == 1
    assert is_free(warehouse)


def test_a_kept_file_is_given_up_in_time_for_others(
    warehouse: Warehouse, openings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "KEPT_SECONDS", 0)
    with kept_open():
        for _ in range(2):
            with warehouse.open():
                pass
            assert is_free(warehouse)
    assert len(openings) == 2


def test_after_an_error_nothing_is_kept(warehouse: Warehouse) -> None:
    with kept_open():
        with pytest.raises((duckdb.Error, PipelineError)), warehouse.open() as found:
            found.execute("SELECT * FROM nothing")
        assert is_free(warehouse)
