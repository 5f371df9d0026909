"""`bms_pipeline.frames`: what a data engineer gets of a home folder, and what reading it can never do."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
import zstandard

from bms_pipeline import frames
from bms_pipeline.core.entities import BY_NAME, ENTITIES, Entity
from bms_pipeline.core.errors import (
    PlanMissing,
    SettingsError,
    StageMissing,
    WarehouseBusy,
    WarehouseError,
    WarehouseNewer,
)
from bms_pipeline.warehouse import schema
from bms_pipeline.warehouse.connection import Warehouse
from bms_pipeline_tests.building import (
    account,
    asset,
    contact,
    employee,
    in_passportal,
    location,
    new_warehouse,
    opened_world,
)

HUGE = 2**53 + 1
"""The first whole number that a float cannot hold."""
WITHOUT_ENTITY = {
    "plan": frames.plan,
    "operations": frames.operations,
    "matches": frames.matches,
    "exclusions": frames.exclusions,
    "outcomes": frames.outcomes,
    "waiting": frames.waiting,
}
HOLD = """
import sys
import duckdb
with duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reads") as held:
    print("held", flush=True)
    sys.stdin.readline()
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from bms_pipeline.warehouse.connection import Warehouse

with Warehouse(Path(sys.argv[1])).transaction() as connection:
    connection.execute("UPDATE sync.exclusions SET reason = 'written just before the kill'")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tenant after its first sync; one client is renamed since, one waits, and a person excluded one."""
    with opened_world(tmp_path_factory.mktemp("tenant") / "home") as world:
        world.employees = [employee(1, "Ada", "Lovelace"), employee(2, "Bo", "Diddley")]
        world.accounts = [
            account(10, "Acme Ltd", location(1000, "Head office")),
            account(11, "Borealis"),
            account(12, "Twins"),
            account(HUGE, "Zenith Corp"),
        ]
        world.contacts = [contact(100, 10, "Dee", "Dee", "dee@acme.example")]
        world.assets = [asset(200, 10, "LAPTOP-1", "SN-1")]
        world.passportal_holds(
            clients=[in_passportal("P1", "ACME LTD"), in_passportal("P2", "Twins"), in_passportal("P3", "Twins")]
        )
        world.exclude("clients", 11)
        world.cycle()
        world.accounts[0] = account(10, "Acme Limited", location(1000, "Head office"))
        world.plan()
        world.let_go_of_the_warehouse()
        return world.settings.bms_pipeline_home


@contextmanager
def held(file: Path, how: str) -> Iterator[None]:
    """Another process has the database open: it ``reads`` or ``writes``."""
    command = [sys.executable, "-c", HOLD, str(file), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate("\n", timeout=60)


def documented(function: Any) -> list[str]:
    """The columns that the docstring of ``function`` explains, in order."""
    return re.findall(r"^\s*- ``(\w+)``: ", inspect.getdoc(function) or "", re.MULTILINE)


@pytest.mark.parametrize("name", WITHOUT_ENTITY)
def test_a_docstring_explains_each_column_in_order(name: str, home: Path) -> None:
    function = WITHOUT_ENTITY[name]
    assert documented(function) == list(function(home).columns)


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.name)
def test_records_have_the_documented_columns_and_the_fields_of_their_entity(entity: Entity, home: Path) -> None:
    columns = list(frames.records(entity.name, home).columns)
    fields = {*entity.columns, *schema.detail_columns(entity)}
    assert [column for column in columns if column not in fields] == documented(frames.records)
    assert fields <= set(columns)


def test_each_frame_is_a_function_and_a_view(home: Path) -> None:
    public = [
        name
        for name, found in inspect.getmembers(frames, inspect.isfunction)
        if found.__module__ == frames.__name__ and not name.startswith("_")
    ]
    assert sorted(public) == sorted([*WITHOUT_ENTITY, "frame", "records", "relations"])
    assert set(frames.FRAMES) == {*WITHOUT_ENTITY, *BY_NAME}


def test_the_frames_tell_what_the_sync_did_and_will_do(home: Path) -> None:
    (plan,) = frames.plan(home).to_dict("records")
    assert (plan["operations"], plan["creates"], plan["updates"], plan["pending"]) == (1, 0, 1, 1)
    operations = frames.operations(home).set_index(["entity", "bms_id"])
    renamed = operations.loc[("clients", 10)]
    assert (renamed["operation"], renamed["counts_as"]) == ("update", "pending")
    (change,) = renamed["changes"]
    assert (change["field"], change["before"], change["after"]) == ("name", "ACME LTD", "Acme Limited")
    assert operations.loc[("clients", 11), "disposition"] == "excluded"
    done = frames.outcomes(home)
    assert set(done["outcome"]) == {"done"}
    assert set(done["operation"]) >= {"create", "adopt"}
    assert frames.exclusions(home)[["bms_id", "name", "decided_by"]].values.tolist() == [[11, "Borealis", "a person"]]
    assert frames.waiting(home)[["entity", "bms_id", "standing"]].values.tolist() == [["clients", 12, "ambiguous"]]
    matched = frames.matches(home).set_index(["entity", "bms_id"])
    assert matched.loc[("clients", 10), "passportal_id"] == "P1"
    assert matched.loc[("assets", 200), "client"] == "Acme Limited"
    standings = frames.records("clients", home).set_index("bms_id")["standing"].to_dict()
    assert standings == {10: "differs", 11: "excluded", 12: "ambiguous", HUGE: "in sync"}


def test_an_id_is_a_whole_number_whatever_the_other_rows_hold(home: Path) -> None:
    operations = frames.operations(home)
    assert HUGE in operations["bms_id"].tolist()
    assert HUGE in operations["client_bms_id"].tolist()
    assert operations.loc[operations["entity"] == "users", "client_bms_id"].isna().all()


def test_an_empty_frame_has_the_types_of_a_full_one(home: Path, tmp_path: Path) -> None:
    new_warehouse(tmp_path / "warehouse.duckdb")
    for name in ("matches", "exclusions", "outcomes"):
        empty, full = WITHOUT_ENTITY[name](tmp_path), WITHOUT_ENTITY[name](home)
        assert empty.empty
        pd.testing.assert_series_equal(empty.dtypes, full.dtypes)


def test_each_frame_is_also_a_relation_for_sql_and_arrow(home: Path) -> None:
    with frames.relations(home) as tables:
        for name in frames.FRAMES:
            frame = frames.frame(name, home)
            table = tables.table(name).to_arrow_table()
            assert table.column_names == list(frame.columns)
            assert table.num_rows == len(frame)
        counted = tables.sql("SELECT entity, count(*) AS records FROM matches GROUP BY ALL ORDER BY ALL").fetchall()
    assert dict(counted)["clients"] == 2


def test_pandas_alone_is_enough_for_data_frames(home: Path) -> None:
    """Arrow is for whoever installs pyarrow."""
    code = "import sys; sys.modules['pyarrow'] = None\nfrom bms_pipeline import frames\nprint(len(frames.matches()))"
    environment = {**os.environ, "BMS_PIPELINE_HOME": str(home)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) == len(frames.matches(home))


def test_nothing_can_be_written_and_no_file_changes(home: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in home.rglob("*")}
    for statement in (
        "DELETE FROM sync.matches",
        "CREATE TABLE sync.mine (a INTEGER)",
        "UPDATE sync.settings SET value = 'true'",
    ):
        with frames.relations(home) as tables, pytest.raises(duckdb.InvalidInputException):
            tables.execute(statement)
    for name in frames.FRAMES:
        frames.frame(name, home)
    assert {file: file.stat().st_mtime_ns for file in home.rglob("*")} == before


def test_several_processes_read_at_once(home: Path) -> None:
    with held(home / "warehouse.duckdb", "reads"):
        assert not frames.matches(home).empty


def test_a_database_in_use_is_waited_for_no_longer_than_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMS_PIPELINE_WAIT_SECONDS", "0")
    with held(home / "warehouse.duckdb", "writes"), pytest.raises(WarehouseBusy):
        frames.matches(home)
    assert not frames.matches(home).empty


def test_a_table_is_read_inside_another_reading_but_not_below_a_writer_of_the_same_process(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with frames.relations(home) as tables:
        assert len(frames.matches(home)) == len(tables.table("matches"))
    monkeypatch.setenv("BMS_PIPELINE_WAIT_SECONDS", "0")
    with Warehouse(home / "warehouse.duckdb").open(), pytest.raises(WarehouseBusy):
        frames.matches(home)


def test_a_commit_just_before_a_kill_is_read(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    file.write_bytes((home / file.name).read_bytes())
    killed = subprocess.run([sys.executable, "-c", KILLED, str(file)], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert frames.exclusions(tmp_path)["reason"].tolist() == ["written just before the kill"]


def test_the_home_of_the_settings_is_read_where_none_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMS_PIPELINE_HOME", str(home))
    assert not frames.matches().empty
    assert not frames.matches(os.path.relpath(home)).empty


def test_a_home_without_a_database_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="does not exist") as caught:
        frames.matches(tmp_path / "misspelt")
    assert str(tmp_path / "misspelt") in caught.value.message
    assert "BMS_PIPELINE_HOME" in caught.value.next_step
    assert not (tmp_path / "misspelt").exists()


def test_nothing_planned_or_read_is_an_error_and_no_empty_frame(tmp_path: Path) -> None:
    new_warehouse(tmp_path / "warehouse.duckdb")
    for frame in (frames.plan, frames.operations, frames.waiting):
        with pytest.raises(PlanMissing):
            frame(tmp_path)
    with pytest.raises(StageMissing):
        frames.records("assets", tmp_path)


def test_an_unknown_entity_is_refused_by_name(home: Path) -> None:
    with pytest.raises(SettingsError, match="tickets"):
        frames.records("tickets", home)
    with pytest.raises(SettingsError, match="tickets"):
        frames.frame("tickets", home)


def test_a_home_of_another_version_is_neither_read_nor_migrated(tmp_path: Path) -> None:
    packed = Path(__file__).parent / "homes" / "0.5.0" / "warehouse.duckdb.zst"
    file = tmp_path / packed.stem
    content = zstandard.ZstdDecompressor().decompress(packed.read_bytes(), max_output_size=1 << 27)
    file.write_bytes(content)
    with pytest.raises(WarehouseError, match="Another version") as caught:
        frames.matches(tmp_path)
    assert "bms-pipeline status" in caught.value.next_step
    assert file.read_bytes() == content
    with Warehouse(file).open() as connection:
        connection.execute("INSERT INTO main.migrations VALUES (9999, '9999_later.sql', now())")
    with pytest.raises(WarehouseNewer):
        frames.matches(tmp_path)


def test_an_error_of_the_readers_own_is_not_blamed_on_the_database(home: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="non-existent directory"), frames.relations(home) as tables:
        tables.table("matches").df().to_csv(tmp_path / "no" / "such" / "folder.csv")
    with pytest.raises(duckdb.BinderException), frames.relations(home) as tables:
        tables.sql("SELECT no_such_column FROM matches")


def test_a_damaged_database_says_so(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    file.write_bytes(b"no database at all" * 1000)
    with pytest.raises(WarehouseError) as caught:
        frames.matches(tmp_path)
    assert caught.value.next_step
