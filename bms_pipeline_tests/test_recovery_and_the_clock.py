"""People decide while this machine's clock is a year ahead or behind, then it is right: nothing of it is lost."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

import pytest
import time_machine

from bms_pipeline.reports import figures
from bms_pipeline.sync import deciding, planning, recovery, run_lock
from bms_pipeline.warehouse import backups, decision_log
from bms_pipeline.warehouse.connection import now
from bms_pipeline_tests.building import World, contact
from bms_pipeline_tests.running import quick_and_soak
from bms_pipeline_tests.test_recovery import copies, loaded_home, log_of, lose_the_database, restore, run, world

__all__ = ["loaded_home", "world"]

YEARS = pytest.mark.parametrize("days", quick_and_soak([365], [-365]))


def lines(world: World) -> int:
    log = decision_log.read_log(log_of(world))
    assert log.problems == []
    return len(log.entries)


def decide(world: World, contact_id: int, setting: str) -> None:
    """A decision, a change of settings and an approval."""
    world.exclude("contacts", contact_id)
    deciding.change_settings(world.warehouse, {"auto_create.locations": setting}, "a person")
    world.plan()
    world.approve(planning.current_plan(world.warehouse).hash)


def load_one_more(world: World, bms_id: int) -> None:
    """A run that creates something, so that it leaves a copy."""
    world.contacts.append(contact(bms_id, 1, "Clock", f"Case {bms_id}"))
    with run_lock.running(world.settings, "a run"):
        world.plan()
        world.finish()


def known(world: World) -> dict[str, object]:
    return {
        **world.lasting(),
        "ledger": world.query("SELECT verb, entity, bms_id, decided_by FROM sync.decisions ORDER BY ALL"),
        "history": world.query("SELECT name, after, changed_by FROM sync.settings_history ORDER BY ALL"),
        "settings": figures.sync_settings(world.warehouse),
    }


@YEARS
@pytest.mark.parametrize("is_read_since", [False, True], ids=["nothing was read since", "BMS was read since"])
def test_what_was_decided_under_a_wrong_clock_and_after_it_comes_back_whole(
    world: World, days: int, is_read_since: bool
) -> None:
    real = now()
    with time_machine.travel(real + timedelta(days=days), tick=True):
        decide(world, 6, "off")
        run(world)
    with time_machine.travel(real + timedelta(hours=1), tick=True):
        if is_read_since:
            world.land()
        run(world)
        before = lines(world)
        world.include("contacts", 6)
        deciding.change_settings(world.warehouse, {"auto_create.locations": "on"}, "another person")
        world.plan()
        assert lines(world) - before == 2, "a decision and a change of settings, and no line of a plan or a clock"
        world.approve(planning.current_plan(world.warehouse).hash)
        assert lines(world) - before == 3, "an approval has a line"
        decided = known(world)
        lose_the_database(world)
        restore(world)
        assert known(world) == decided
        run(world)
        world.plan()
        assert known(world) == decided


@YEARS
def test_a_record_that_is_handed_over_again_has_a_line_after_the_clock_was_wrong(world: World, days: int) -> None:
    real = now()
    with world.warehouse.transaction() as connection:
        for bms_id in (1, 2):
            connection.execute(
                "INSERT INTO sync.pending_imports (entity, bms_id, file) VALUES ('clients', ?, 'clients.csv')", [bms_id]
            )
    forgotten = "UPDATE sync.pending_imports SET reissued_at = ? WHERE bms_id = ?"
    for bms_id, moment in ((1, real + timedelta(days=days)), (2, real + timedelta(hours=1))):
        with time_machine.travel(moment, tick=True):
            before = lines(world)
            with world.warehouse.transaction() as connection:
                connection.execute(forgotten, [now(), bms_id])
            assert lines(world) == before + 1
            last = decision_log.read_log(log_of(world)).entries[-1]
            assert [row["bms_id"] for row in last["pending_imports"]] == [bms_id]


@YEARS
def test_copies_of_a_wrong_clock_keep_no_later_one_from_being_kept_and_found(world: World, days: int) -> None:
    real = now()
    with time_machine.travel(real + timedelta(days=days), tick=True):
        for number in range(backups.KEPT):
            load_one_more(world, 100 + number)
        ahead = copies(world)
    with time_machine.travel(real + timedelta(hours=1), tick=True):
        load_one_more(world, 200)
        matches = world.lasting()["matches"]
        found = recovery.find_restorable(world.settings)
        assert found.copy is not None
        assert found.copy.matches == len(matches), "the copy of the last run is the one that is put back"
        assert len(copies(world)) == backups.KEPT
        assert copies(world)[-1] == found.copy.file, "and it is the last by its name, too"
        assert found.copy.file not in ahead
        for copy in recovery.list_copies(world.settings):
            assert copy.made_at is not None
            assert copy.made_at <= now()
        shown = figures.status(world.settings, world.warehouse).backups
        assert shown.newest == found.copy.file.name
        assert shown.made_at is not None
        assert shown.made_at <= str(now())
        kept = copies(world)
        run(world)
        assert copies(world) == kept, "nothing changed, so no copy is made"
        lose_the_database(world)
        restore(world)
        assert world.lasting()["matches"] == matches


def test_a_copy_of_the_future_that_no_run_has_put_right_yet_is_not_preferred_to_a_later_one(world: World) -> None:
    """A whole copy, and an automatic one, both of a clock that was ahead; then the database is lost before any run."""
    real = now()
    with time_machine.travel(real + timedelta(days=365), tick=True):
        load_one_more(world, 100)
        recovery.back_up(world.settings, world.warehouse)
    ahead = {file: file.read_bytes() for file in copies(world)}
    with time_machine.travel(real + timedelta(hours=1), tick=True):
        load_one_more(world, 200)
        newest = recovery.find_restorable(world.settings).copy
        assert newest is not None
        assert newest.file not in ahead
        for file, content in ahead.items():
            file.write_bytes(content)  # as they were named then
            os.utime(file, ((real + timedelta(days=365)).timestamp(),) * 2)
        again = recovery.find_restorable(world.settings).copy
        assert again is not None
        assert again.file == newest.file


def test_while_people_decide_after_a_wrong_clock_a_copy_is_still_made_every_ten_minutes_at_most(world: World) -> None:
    real = now()
    with time_machine.travel(real + timedelta(days=365), tick=True):
        load_one_more(world, 100)

    def due(moment: datetime) -> bool:
        with world.warehouse.open() as connection:
            return backups.make_if_due(connection, world.settings.warehouse_file, moment) is not None

    with time_machine.travel(real + timedelta(hours=1), tick=True):
        world.exclude("contacts", 6)
        begun = now()
        assert not due(begun)
        assert due(begun + backups.AT_MOST_EVERY)
        assert not due(begun + backups.AT_MOST_EVERY)
