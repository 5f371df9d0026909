"""A moment in the future counts as now, whether this machine's clock was ahead or a stamp of BMS is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core.entities import ACCOUNTS, CONTACTS_LIST
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reports import figures
from bms_pipeline.sync import extraction
from bms_pipeline.warehouse import clock
from bms_pipeline.warehouse.connection import now
from bms_pipeline_tests.building import World, account, asset, contact, opened_world

TOGGLES = {"clients": True, "users": False, "locations": True, "contacts": True, "assets": False}


@pytest.mark.parametrize("days_ahead", [0, 2, 400])
def test_a_clock_that_was_ahead_once_changes_neither_what_is_due_nor_what_is_new(
    tmp_path: Path, days_ahead: int
) -> None:
    real = now()
    with opened_world(tmp_path / "home") as world:
        with time_machine.travel(real + timedelta(days=days_ahead), tick=True):
            world.accounts = [account(1, "Alpha", modifiedOn="2026-01-01T00:00:00")]
            world.cycle()
            world.set("auto_create", TOGGLES)
            world.assets = [asset(1, 1, "SEEN-AHEAD", "5CG12345XK")]
            world.plan(Scope())
        with time_machine.travel(real + timedelta(days=1, hours=1), tick=True):
            assert extraction._watermark(world.warehouse, ACCOUNTS) is None, "a full sweep is due"
            world.accounts.append(account(2, "Brand New", modifiedOn="2026-11-01T00:00:00"))
            world.assets.append(asset(2, 1, "NEW-PC", "5CG12345XL"))
            world.plan(Scope())
            assert world.decisions("clients")[2].disposition == "to_create", "its toggle is on"
            assert {world.decisions("assets")[each].disposition for each in (1, 2)} == {"unmatched"}, (
                "its toggle is off"
            )
            told = [
                each for each in figures.status(world.settings, world.warehouse).warnings if "clock was ahead" in each
            ]
            assert len(told) == (1 if days_ahead > 1 else 0)


def test_a_stamp_of_bms_in_the_future_moves_no_watermark_and_is_reported(tmp_path: Path) -> None:
    with opened_world(tmp_path / "home") as world:
        world.accounts = [account(1, "Alpha")]
        world.contacts = [
            contact(1, 1, "Ann", "Lee", modifiedOn="2099-01-01T00:00:00"),
            contact(2, 1, "Bo", "Ray", modifiedOn="2024-11-20T10:00:00"),
        ]
        world.cycle()
        assert extraction._watermark(world.warehouse, CONTACTS_LIST) == "2024-11-19T10:00:00"
        told = figures.status(world.settings, world.warehouse).warnings
        assert any("contact 1 with 2099-01-01T00:00:00" in each for each in told)


def test_a_stamp_of_another_time_zone_is_believed(tmp_path: Path) -> None:
    local = (datetime.now(UTC) + timedelta(hours=10)).strftime("%Y-%m-%dT%H:%M:%S")
    with opened_world(tmp_path / "home") as world:
        world.accounts = [account(1, "Alpha")]
        world.contacts = [contact(1, 1, "Ann", "Lee", modifiedOn=local)]
        world.cycle()
        mark = extraction._watermark(world.warehouse, CONTACTS_LIST)
        assert mark is not None
        assert mark <= now().isoformat()
        assert world.query("SELECT max(newest_modified_on) FROM sync.sweeps") == [(local,)]
        assert not any("future" in each for each in figures.status(world.settings, world.warehouse).warnings)


@pytest.fixture(scope="module")
def lasting_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened_world(tmp_path_factory.mktemp("clock") / "home") as world:
        yield world


@given(st.lists(st.integers(-500, 500), min_size=1, max_size=8))
def test_moments_keep_their_order_and_none_is_left_in_the_future(lasting_world: World, days: list[int]) -> None:
    moment = now()
    stamps = [moment + timedelta(days=each, seconds=each) for each in days]
    with lasting_world.warehouse.transaction() as connection:
        connection.execute("DELETE FROM sync.matches")
        for n, stamp in enumerate(stamps):
            connection.execute("INSERT INTO sync.matches VALUES ('clients', ?, ?, 'match', ?)", [n, str(n), stamp])
        clock.put_right(connection, moment)
    after = [row[0] for row in lasting_world.query("SELECT matched_at FROM sync.matches ORDER BY bms_id")]
    assert all(each <= moment for each in after)
    assert all(one == other for one, other in zip(stamps, after, strict=True) if one <= moment)
    assert sorted(range(len(days)), key=stamps.__getitem__) == sorted(range(len(days)), key=after.__getitem__)
    with lasting_world.warehouse.transaction() as connection:
        assert clock.put_right(connection, moment) == []
