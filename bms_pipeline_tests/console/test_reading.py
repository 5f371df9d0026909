"""The copy that pages read says what the warehouse says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import duckdb
import pytest
import requests

from bms_pipeline.console import read_replica
from bms_pipeline.console.context import Console
from bms_pipeline.core.entities import EntityName
from bms_pipeline.core.errors import PlanError
from bms_pipeline.reconcile.decisions import Decision
from bms_pipeline.reports import figures
from bms_pipeline.reports.read_models import RecordStory
from bms_pipeline.state.opening import open_state
from bms_pipeline.sync import deciding, run_lock
from bms_pipeline.warehouse.connection import Warehouse
from bms_pipeline_tests.building import World
from bms_pipeline_tests.console.serving import Person, served


def told(warehouse: Warehouse, name: EntityName, bms_id: int) -> RecordStory:
    """A record's story without the raw answer of BMS, which no page shows and which is not copied."""
    story = figures.explain(warehouse, name, bms_id)
    return replace(story, in_bms={name: value for name, value in story.in_bms.items() if name != "json"})


REPORTS: dict[str, Callable[[Warehouse], Any]] = {
    "runs": lambda warehouse: figures.runs(warehouse, 50),
    "loads": lambda warehouse: figures.loads(warehouse, 50),
    "orphans": figures.orphans,
    "hand_overs": figures.pending_imports,
    "settings": figures.sync_settings,
    "settings_history": figures.settings_history,
    "explain": lambda warehouse: [
        told(warehouse, name, bms_id) for name, bms_id in (("clients", 10), ("contacts", 100), ("users", 1))
    ],
}


@pytest.fixture
def borealis_handed_over(world: World) -> None:
    """The client 11 waits in a file for its import."""
    with world.warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO sync.pending_imports BY NAME SELECT 'clients' AS entity, 11 AS bms_id, 'Borealis' AS name,"
            " 'clients_1.csv' AS file, now() AS handed_over_at, now() AS written_at"
        )


@pytest.mark.usefixtures("borealis_handed_over")
def test_a_report_on_the_copy_is_that_on_the_warehouse(console: Console, world: World) -> None:
    console.reading.refresh(at_once=True)
    for name, report in REPORTS.items():
        assert report(console.reading.copy) == report(world.warehouse), name


def test_what_went_wrong_with_the_copy_once_does_not_stop_it(
    console: Console, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    copy = console.reading.copy
    renew, tried, done = copy.renew, threading.Event(), threading.Event()

    def failing_once(warehouse: Warehouse) -> None:
        if not tried.is_set():
            tried.set()
            raise duckdb.InvalidInputException("Something nobody thought of.")
        renew(warehouse)
        done.set()

    monkeypatch.setattr(read_replica, "IN_VAIN_SECONDS", 0.0)
    monkeypatch.setattr(copy, "renew", failing_once)
    deciding.decide(world.warehouse, [Decision("exclude", "clients", 11)], "Casey")
    assert tried.wait(30)
    assert done.wait(30)
    with copy.open() as connection:
        assert connection.execute("SELECT bms_id FROM sync.exclusions").fetchall() == [(11,)]
    assert "Something nobody thought of." in caplog.text


def test_the_overview_does_not_miss_decisions_that_the_warehouse_holds(alex: Person, world: World) -> None:
    deciding.decide(world.warehouse, [Decision("exclude", "clients", 11)], "Casey")
    alex.get("/")
    assert "does not hold what people decided last" not in alex.text


@pytest.mark.usefixtures("borealis_handed_over")
def test_what_was_handed_over_is_listed_and_can_be_handed_over_again(alex: Person, world: World) -> None:
    alex.get("/")
    assert "1 record waits for an import into Passportal" in alex.text
    alex.get("/hand-overs")
    assert "clients Borealis 11 clients_1.csv" in alex.text
    open_state(world.settings).import_files.write("clients_1.csv", "Client Name\r\nBoréalis\r\n".encode())
    open_state(world.settings).import_files.write("another.csv", b"")
    assert "Boréalis" in alex.get("/hand-overs/files/clients_1.csv")
    assert "There is no file another.csv for an import." in alex.get("/hand-overs/files/another.csv")
    alex.get("/hand-overs")
    alex.send("/hand-overs/again")
    assert "The next plan hands client 11 over in a new file." in alex.text
    assert world.query("SELECT bms_id, reissued_by FROM sync.pending_imports") == [(11, "Alex")]
    alex.get("/hand-overs")
    assert "Nothing was handed over so far." in alex.text


def test_records_that_share_a_bms_id_are_listed_and_one_keeps_it(alex: Person, world: World) -> None:
    world.finish()
    world.edit_passportal("UPDATE records SET marker = '12' WHERE title = 'Twins'")
    world.plan()
    alex.get("/")
    assert "1 BMS id on several records of Passportal" in alex.text
    alex.get("/duplicates")
    assert "clients 12 Twins P2" in alex.text
    alex.send("/duplicates/keep", passportal_id="P3")
    assert "P3 keeps the id of client 12. With the next finish it is taken off P2." in alex.text
    assert world.query("SELECT bms_id, passportal_id, decided_by FROM sync.non_matches") == [(12, "P2", "Alex")]
    alex.get("/duplicates")
    assert "No two records of Passportal carry the same BMS id." in alex.text


def test_the_last_runs_are_listed_with_how_they_ended_and_single_decisions_are_not(
    console: Console, alex: Person, world: World
) -> None:
    with run_lock.running(world.settings, "bms-pipeline sync"):
        pass
    with pytest.raises(ZeroDivisionError), run_lock.running(world.settings, "Dagster run 0a-1b"):
        1 / 0  # noqa: B018
    with pytest.raises(PlanError), run_lock.running(world.settings, "bms-pipeline finish"):
        raise PlanError("There is no plan.\nAt all.")
    alex.get("/review/clients")
    alex.send("/review/clients/decide", act="exclude:11")
    alex.get("/runs")
    shown = alex.text.partition("The last runs")[2].partition("Loads")[0]
    told = ["There is no plan.", "Dagster run 0a-1b", "It stopped with ZeroDivisionError.", "bms-pipeline sync"]
    assert [shown.index(each) for each in told] == sorted(shown.index(each) for each in told)
    assert shown.count("did not succeed") == 2
    assert "Succeeded" in shown
    assert "Alex" not in shown


def test_every_page_names_the_tenant_to_people_who_signed_in(world: World) -> None:
    with served(world.settings.model_copy(update={"bms_pipeline_name": "acme"})) as console:
        alex = Person(console, "Alex")
        for page in ("/", "/runs", "/setup"):
            shown = alex.get(page)
            assert "Passportal · acme</title>" in shown
            assert ">Tenant acme<" in shown
        assert "acme" not in requests.get(f"{alex.origin}/", timeout=60).text, "nobody else learns it"
    with served(world.settings) as console:
        assert "acme" not in Person(console, "Alex").get("/")
