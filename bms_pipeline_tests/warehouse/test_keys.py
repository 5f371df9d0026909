"""The keys that are stored are those that would be computed now, whatever was landed in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core.entities import BY_NAME
from bms_pipeline.sync import passportal_snapshot
from bms_pipeline.warehouse import keys, names
from bms_pipeline.warehouse.connection import Warehouse, now
from bms_pipeline_tests.building import World, account, asset, contact, in_passportal, opened_world
from bms_pipeline_tests.exploring import examples

KEYED = [BY_NAME[each] for each in ("clients", "contacts", "assets")]
NAMES = st.sampled_from(
    ["Acme Ltd", "ACME  Limited", "Ärzte & Co", "ﬁrma", "Straße", "Müller and Söhne", "", "Acme", "ドット"]
)
SERIALS = st.sampled_from(["ABC-1234", "abc 1234", "N/A", "0000", None, "X9-77-Z"])
EMAILS = st.sampled_from([" A@b.com", "a@B.com", None])
DAYS = st.lists(st.lists(st.tuples(st.integers(1, 4), NAMES, SERIALS, EMAILS), max_size=4), min_size=2, max_size=3)


@given(days=DAYS)
@examples(3, 60)
def test_after_any_landings_the_stored_keys_are_those_of_the_stored_values(
    days: list[list[tuple[int, str, str | None, str | None]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with opened_world(tmp_path_factory.mktemp("keys") / "home") as world:
        for day in days:
            _passes(world, day)
            for entity in KEYED:
                for table in (f"bms.{entity.name}", f"passportal.{entity.name}"):
                    stored = ", ".join(keys.key_columns(entity))
                    values = f"SELECT rowid AS row, {', '.join(entity.columns)} FROM {table}"
                    assert world.query(f"SELECT {stored} FROM {table} ORDER BY rowid") == world.query(
                        f"SELECT {stored} FROM ({keys.with_keys(entity, values)}) ORDER BY row"
                    )


def _passes(world: World, day: list[tuple[int, str, str | None, str | None]]) -> None:
    """A day in which the records are these, on both sides."""
    newest = {bms_id: rest for bms_id, *rest in day}
    world.accounts = [account(each, name) for each, (name, _, _) in newest.items()]
    world.contacts = [contact(each, each, name, "Z", email) for each, (name, _, email) in newest.items()]
    world.assets = [asset(each, each, name, serial) for each, (name, serial, _) in newest.items()]
    world.edit_passportal("DELETE FROM records")
    world.passportal_holds(
        clients=[in_passportal(f"C{each}", name) for each, (name, _, _) in newest.items()],
        assets=[
            in_passportal(f"A{each}", name, f"C{each}", serial_number=serial)
            for each, (name, serial, _) in newest.items()
        ],
    )
    world.land()
    for entity in KEYED:
        passportal_snapshot.snapshot(world.settings, world.warehouse, world.passportal, entity)


def test_another_definition_of_a_key_computes_all_of_them_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "home" / "warehouse.duckdb"
    with opened_world(tmp_path / "home") as world:
        _passes(world, [(1, "Acme Ltd", None, None)])
        (before,) = world.query("SELECT version FROM sync.input_versions WHERE name = 'bms.clients'")
    shouted: Any = names.name_key
    monkeypatch.setattr(names, "name_key", lambda text: f"upper({shouted(text)})")
    with Warehouse(file).open() as connection:
        assert connection.execute("SELECT name_key FROM bms.clients").fetchall() == [("ACME LTD",)]
        (after,) = connection.execute("SELECT version FROM sync.input_versions WHERE name = 'bms.clients'").fetchall()
    assert after[0] == before[0] + 1, "a plan has to look again"
    with Warehouse(file).transaction() as connection:
        keys.bring_up_to_date(connection, now())
        assert connection.execute("SELECT version FROM sync.input_versions WHERE name = 'bms.clients'").fetchall() == [
            after
        ]
