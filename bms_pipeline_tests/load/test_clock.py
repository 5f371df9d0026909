"""Every moment that is stored is that of the process's clock, whatever the machine's zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from bms_pipeline_tests.building import World, account, contact, location

THEN = datetime(2031, 7, 1, 12, tzinfo=UTC)


def test_all_stored_moments_are_those_of_the_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    with time_machine.travel(THEN, tick=True):
        world.accounts = [account(1, "Acme", location(2, "Office"))]
        world.contacts = [contact(3, 1, "Ann", "Lee")]
        world.set("active_only", True)
        world.cycle()
        world.contacts = [contact(3, 1, "Ann", "Lee", "ann@acme.example")]
        world.cycle()
    columns = world.query(
        "SELECT schema_name, table_name, column_name FROM duckdb_columns()"
        " WHERE data_type LIKE 'TIMESTAMP%' AND schema_name IN ('bms', 'passportal', 'sync')"
        " AND table_name <> 'operations'"
    )
    stored = 0
    for schema, table, column in columns:
        for (moment,) in world.query(f"SELECT {column} FROM {schema}.{table} WHERE {column} IS NOT NULL"):
            assert timedelta() <= moment.replace(tzinfo=UTC) - THEN < timedelta(minutes=15), (
                f"{schema}.{table}.{column}"
            )
            stored += 1
    assert stored > 20
