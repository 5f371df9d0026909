"""Several people, and a run, at once: nobody undoes another's work unseen, and nothing that was decided is lost."""

from __future__ import annotations

import threading

import pytest

from bms_pipeline.console import read_replica
from bms_pipeline.console.context import Console
from bms_pipeline.reconcile.decisions import Decision
from bms_pipeline.sync import deciding, run_lock
from bms_pipeline_tests.building import World, in_passportal
from bms_pipeline_tests.console.serving import Person

DECIDE = "/review/clients/decide"


def test_the_second_to_decide_about_a_record_sees_the_first_ones_decision(
    console: Console, alex: Person, world: World
) -> None:
    blake = Person(console, "Blake")
    alex.get("/review/clients")
    blake.get("/review/clients")
    alex.send(DECIDE, act="exclude:11")
    blake.send(DECIDE, act="create:11")
    assert blake.status == 409
    assert "client 11 Borealis: exclude by Alex at" in blake.text
    assert world.lasting()["approved_creates"] == []
    blake.get("/review/clients?disposition=excluded")
    blake.send(DECIDE, act="create:11")
    assert world.lasting()["approved_creates"] == [("clients", 11, False)]


def test_a_decision_about_other_records_is_no_reason_to_refuse(console: Console, alex: Person, world: World) -> None:
    blake = Person(console, "Blake")
    blake.get("/review/clients")
    alex.get("/review/clients")
    alex.send(DECIDE, act="exclude:11")
    blake.send(DECIDE, act="exclude:12")
    assert world.lasting()["exclusions"] == [("clients", 11), ("clients", 12)]


def test_also_a_decision_by_the_command_line_is_seen(alex: Person, world: World) -> None:
    alex.get("/review/clients")
    deciding.decide(world.warehouse, [Decision("exclude", "clients", 11)], "Casey")
    alex.send(DECIDE, act="create:11")
    assert "exclude by Casey" in alex.text


def test_all_that_is_found_is_refused_when_it_is_not_what_was_found(
    console: Console, alex: Person, world: World
) -> None:
    blake = Person(console, "Blake")
    blake.get("/review/users?disposition=unmatched")
    alex.get("/review/users")
    alex.send("/review/users/decide", act="create:2")
    blake.send("/review/users/decide", act="exclude", of="all")
    assert blake.status == 409
    assert "user 2 Bo Diddley: create by Alex" in blake.text
    assert world.lasting()["exclusions"] == []


def test_what_a_run_decided_otherwise_is_not_decided_about_unseen(alex: Person, world: World) -> None:
    alex.get("/review/clients")
    world.passportal_holds(clients=[in_passportal("P9", "Borealis")])
    world.plan()
    alex.send(DECIDE, act="exclude:11")
    assert alex.status == 409
    assert "stands otherwise since a run decided about it" in alex.text


# -- while a run is at work --------------------------------------------------------------------------------------------


def test_while_a_run_holds_the_home_pages_are_there_and_a_decision_waits_with_its_form_kept(
    alex: Person, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_replica, "WAIT_SECONDS", 1.0)
    alex.get("/review/clients")
    with run_lock.running(world.settings, "bms-pipeline sync") as told:
        told("load contacts", 3, 10)
        alex.send(DECIDE, act="exclude", ticked=["11", "12"], why="theirs & ours")
        assert alex.status == 503
        assert "This has to wait" in alex.text
        assert "bms-pipeline sync (process" in alex.text
        kept = alex.form(DECIDE)
        assert (kept["ticked"], kept["why"]) == (["11", "12"], ["theirs & ours"])
        page = Person(alex.console, "Blake")
        page.get("/review/clients")
        assert "bms-pipeline sync is at work" in page.text
        assert "load contacts 3 of 10; decisions wait until it ends" in page.text
        assert "Borealis" in page.text
    alex.send(DECIDE)  # Try again
    assert world.lasting()["exclusions"] == [("clients", 11), ("clients", 12)]


def test_while_another_process_writes_the_pages_show_what_was_there_before(alex: Person, world: World) -> None:
    written, go_on = threading.Event(), threading.Event()

    def write() -> None:
        with world.warehouse.transaction() as connection:
            connection.execute("UPDATE bms.clients SET name = 'Renamed' WHERE bms_id = 11")
            written.set()
            go_on.wait(30)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(30)
        alex.get("/review/clients")
        assert alex.status == 200
        assert "Borealis" in alex.text
    finally:
        go_on.set()
        writer.join()
