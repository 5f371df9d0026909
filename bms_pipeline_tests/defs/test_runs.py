"""Whole runs in this process, against the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import duckdb
import pytest
import time_machine
from dagster._core.execution.plan.active import ActiveExecution
from dagster_shared.serdes import serialize_value

from bms_pipeline.core.settings import read_settings
from bms_pipeline.defs import resources
from bms_pipeline.passportal.embedded import EmbeddedPassportal
from bms_pipeline.sync import run_lock, services
from bms_pipeline_tests.defs.conftest import Pipeline, Run
from bms_pipeline_tests.load.disturbing import Slow
from bms_sandbox.process import Sandbox

ENTITIES = ("clients", "users", "locations", "contacts", "assets")
CANARIES = {
    "BMS_PASSWORD": "canary-password-5f1d",
    "BMS_MFA_SECRET": "CANARYMFASECRETXCANARYMFASECRETX",
    "PASSPORTAL_SECRET": "canary-passportal-77ab",
}


def test_the_initial_sync_waits_for_a_person_who_names_its_plan(
    waiting: Pipeline, made_fresh: Pipeline, made_waiting: tuple[Pipeline, Run], plan_hash: str
) -> None:
    run, before = made_waiting[1], made_fresh.passportal()
    assert run.result.success, run.failures
    assert len(run.metadata) == 17
    assert run.metadata["sync_plan"]["operations"] > 100
    assert not {*(f"loaded_{name}" for name in ENTITIES), "sync_result"} & set(run.metadata), "nothing was loaded"
    assert waiting.passportal() == before

    unnamed = waiting.run("finish")
    assert set(unnamed.failures) == {"loaded_clients", "loaded_users"}
    assert f"launch the job `finish` with `plan_hash: {plan_hash[:12]}`" in unnamed.failures["loaded_clients"]
    assert waiting.passportal() == before

    refused = waiting.run("finish", plan_hash="0123456789ab")
    assert set(refused.failures) == {"loaded_clients", "loaded_users"}
    assert f"that is {plan_hash[:12]}" in refused.failures["loaded_clients"]
    assert waiting.passportal() == before


@pytest.mark.parametrize("job", ["finish", "finish_clients"])
def test_a_hash_that_no_plan_has_fails_before_anything_is_read(
    waiting: Pipeline, plan_hash: str, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    read: list[str] = []

    def remember(name: str) -> Callable[..., Any]:
        real = getattr(EmbeddedPassportal, name)

        def reading(*args: Any, **kwargs: Any) -> Any:
            read.append(name)
            return real(*args, **kwargs)

        return reading

    for name in ("snapshot", "find"):
        monkeypatch.setattr(EmbeddedPassportal, name, remember(name))
    for wrong in ("0123456789ab", f"{plan_hash[:11]}x", plan_hash[:7], ""):
        refused = waiting.run(job, plan_hash=wrong)
        assert set(refused.failures) == {"loaded_clients", "loaded_users"}, wrong
        assert len({text.partition("Stack Trace")[0] for text in refused.failures.values()}) == 1, "one cause"
        assert read == [], wrong
    assert waiting.run(job, plan_hash=plan_hash[:12]).result.success
    assert read, "the right one is compared with Passportal as it is now"


def test_what_a_person_named_is_loaded_once_and_scheduled_runs_end_early_where_nothing_is_new(
    finished: Pipeline,
    made_fresh: Pipeline,
    made_waiting: tuple[Pipeline, Run],
    made_finished: tuple[Pipeline, Run],
    plan_hash: str,
    sandbox: Sandbox,
) -> None:
    planned, run = made_waiting[1].metadata["sync_plan"]["operations"], made_finished[1]
    assert run.result.success, run.failures
    assert set(run.metadata) == {*(f"loaded_{each}" for each in ENTITIES), "sync_result", "loaded_by_client"}
    result = run.metadata["sync_result"]
    assert result["initial sync finished"]
    assert result["created"] + result.get("adopted", 0) == planned
    assert not {"pending", "failed"} & set(result), "no row for what is zero"
    loaded = finished.passportal()
    assert len(loaded) == len(made_fresh.passportal()) + result["created"]

    for of_the_plan in (made_waiting[1], run):
        found = finished.instance.get_run_by_id(of_the_plan.result.run_id)
        assert found is not None
        assert found.tags["bms_pipeline/plan"] == plan_hash[:12], "the page Runs filters by it"
    for key, metadata in {**made_waiting[1].metadata, **run.metadata}.items():
        empty = {name: value for name, value in metadata.items() if value in (0, 0.0, None, []) and value is not False}
        assert set(empty) <= {"dagster/row_count", "operations", "read"}, key
        assert all(value == round(value, 1) for value in metadata.values() if isinstance(value, float)), key
        assert next(iter(metadata)) in (
            "next",
            "state",
            "client",
            "dagster/row_count",
            "changed since the last plan",
        ), key

    twice = finished.run("finish", plan_hash=plan_hash[:12])
    assert twice.result.success, "a second press of the button"
    assert "was loaded already, at" in twice.metadata["sync_result"]["state"]
    assert len(finished.passportal()) == len(loaded)

    again = finished.run("incremental_sync")
    assert again.result.success
    assert again.metadata["bms_clients"]["sweep"] == "incremental, complete"
    assert again.metadata["sync_plan"]["operations"] == 0
    assert again.metadata["sync_result"]["state"] == "There was nothing to do."
    assert len(finished.passportal()) == len(loaded)

    before = sandbox.calls()
    scheduled = finished.run("incremental_sync", only_what_is_new=True)
    assert scheduled.result.success, scheduled.failures
    assert set(scheduled.metadata) == {f"{side}_{each}" for side in ("bms", "passportal") for each in ENTITIES}
    calls = {route: count - before.get(route, 0) for route, count in sandbox.calls().items()}
    assert calls["GET /v2/crm/accounts/summary"] == calls["GET /v2/crm/contacts/summary"] == 1


def test_only_the_clients_that_changed_are_told(finished: Pipeline) -> None:
    finished.query(
        "UPDATE bms.contacts SET job_title = 'Somebody else' WHERE bms_id = (SELECT min(bms_id) FROM"
        " sync.reconciled_contacts WHERE disposition = 'matched' AND account_id IS NOT NULL)"
    )
    ((account,),) = finished.query("SELECT account_id FROM bms.contacts WHERE job_title = 'Somebody else'")
    finished.query("UPDATE sync.input_versions SET version = version + 1 WHERE name = 'bms.contacts'")
    run = finished.run(
        "incremental_sync",
        select="sync_inputs sync_plan sync_result"
        + "".join(f" reconciled_{each} loaded_{each}" for each in ("clients", "contacts")),
    )
    assert run.result.success, run.failures
    assert [each.partition for each in run.events("loaded_by_client")] == [str(account)]


@pytest.fixture
def losing(waiting: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], list[bool]]]:
    """Lose the answer to the create of this contact; True for each time that the run let others in to wait for it.

    It is minutes until that write may be settled: instead of waiting, a run turns the clock.
    """

    def lose(contact: int) -> list[bool]:
        slow = Slow(EmbeddedPassportal(waiting.home / "passportal.duckdb"), ("contacts", contact), batch_size=5000)
        let_go: list[bool] = []
        given_back = resources.Pipeline.let_go

        def watching(resource: resources.Pipeline) -> None:
            given_back(resource)
            with run_lock.running(read_settings(None), "Somebody else"):
                let_go.append(True)

        monkeypatch.setattr(services, "open_target", lambda settings: slow)
        monkeypatch.setattr(resources.Pipeline, "let_go", watching)
        return let_go

    with time_machine.travel(datetime.now(UTC), tick=True) as clock:
        monkeypatch.setattr(ActiveExecution, "sleep_til_ready", lambda run: clock.shift(max(0.0, run.sleep_interval())))
        yield lose


def created_once(pipeline: Pipeline, contact: int) -> bool:
    """Whether the contact is in Passportal once, and the warehouse knows it."""
    query = f"SELECT outcome FROM sync.outcomes WHERE entity = 'contacts' AND bms_id = {contact}"
    markers = [marker for _, kind, _, _, marker in pipeline.passportal() if kind == "contact"]
    return pipeline.query(query) == [("created",)] and markers.count(str(contact)) == 1


def test_the_initial_bulk_import_goes_client_by_client_and_waits_for_a_lost_answer_without_the_home_folder(
    waiting: Pipeline, plan_hash: str, losing: Callable[[int], list[bool]]
) -> None:
    assert "waits for a person" in waiting.import_clients(range(1)).failures["loaded_by_client"]

    approved = waiting.run("finish_clients", plan_hash=plan_hash)
    assert approved.result.success
    (listed,) = (each for each in approved.result.all_events if each.event_type_value == "ASSET_OBSERVATION")
    named = listed.asset_observation_data.asset_observation.metadata["partitions"]
    assert isinstance(named, dg.TableMetadataValue)
    linked = waiting.query(
        "SELECT name, bms_id::VARCHAR FROM bms.clients SEMI JOIN sync.matches m ON m.entity = 'clients' AND m.bms_id ="
        " clients.bms_id ORDER BY ALL"
    )
    assert sorted(tuple(record.data.values()) for record in named.records) == linked
    ((lost, account), *_) = waiting.query(
        "SELECT bms_id, account_id FROM sync.operations WHERE entity = 'contacts' AND operation = 'create' ORDER BY 1"
    )
    let_go = losing(lost)
    first = waiting.import_clients([account])
    assert first.result.success, first.failures
    assert let_go == [True], "somebody else could work meanwhile"
    assert created_once(waiting, lost)
    (event,) = first.events("loaded_by_client")
    assert event.partition == str(account)
    ((name,),) = waiting.query(f"SELECT name FROM bms.clients WHERE bms_id = {account}")
    assert event.metadata["client"].value == name, "nobody knows a client by its id"
    assert waiting.query(
        "SELECT DISTINCT account_id FROM sync.outcomes WHERE outcome IN ('created', 'adopted')"
        " AND entity NOT IN ('clients', 'users')"
    ) == [(account,)]

    clients = waiting.query("SELECT bms_id FROM sync.matches WHERE entity = 'clients' ORDER BY 1")
    others = [bms_id for (bms_id,) in clients if bms_id != account]
    rest = waiting.import_clients(others)
    assert [each.partition for each in rest.events("loaded_by_client")] == [str(each) for each in others]
    assert waiting.query("SELECT count(*) FROM sync.outcomes WHERE outcome = 'pending'") == [(0,)]
    assert waiting.query("SELECT count(*) FROM sync.settings WHERE name = 'initial_sync_finished_at'") == [(1,)]


def test_a_client_can_be_imported_again(finished: Pipeline) -> None:
    ((client, lost), *_) = finished.query(
        "SELECT r.account_id, r.passportal_id FROM sync.reconciled_locations r JOIN sync.matches m"
        " ON m.entity = 'locations' AND m.bms_id = r.bms_id WHERE r.disposition = 'matched' ORDER BY ALL"
    )
    with duckdb.connect(str(finished.home / "passportal.duckdb")) as connection:
        connection.execute("UPDATE records SET details = MAP {} WHERE id = ?", [lost])
        connection.execute("DELETE FROM records WHERE id = ?", [lost])
    run = finished.import_clients([client])
    assert run.result.success, run.failures
    assert [each.partition for each in run.events("loaded_by_client")] == [str(client)]
    ((entities,),) = finished.query("SELECT scope FROM sync.plans ORDER BY plan_id DESC LIMIT 1")
    assert f'"clients": [{client}]' in entities
    read = finished.query("SELECT DISTINCT client FROM sync.sweeps WHERE mode = 'client'")
    assert read == [(client,)], "it was read alone"


@pytest.mark.soak
def test_a_scoped_plan_is_loaded_by_launching_the_job_again_with_its_hash(waiting: Pipeline) -> None:
    ((account,), *_) = waiting.query(
        "SELECT bms_id FROM sync.reconciled_clients WHERE disposition = 'matched' ORDER BY bms_id"
    )
    plan = waiting.run("initial_sync", clients=[account]).metadata["sync_plan"]
    assert plan["clients"] == str(account)
    planned = "FROM sync.operations WHERE operation <> 'skip' AND entity <> 'users'"
    assert waiting.query(f"SELECT DISTINCT account_id {planned}") == [(account,)]

    loaded = waiting.run("initial_sync", plan_hash=plan["plan hash"], clients=[account])
    assert loaded.result.success, loaded.failures
    result = loaded.metadata["sync_result"]
    assert result.get("created", 0) + result.get("adopted", 0) == plan["operations"]
    assert not result["initial sync finished"], "a restricted plan does not end it"


def test_an_incomplete_sweep_is_told_by_its_check_and_what_it_does_not_prove_waits(waiting: Pipeline) -> None:
    waiting.query(
        "INSERT INTO sync.sweeps (list_call, sweep, mode, complete, reason, records, landed_at)"
        " SELECT 'employees', 'x', 'full', false, 'drift', 7, max(landed_at) + INTERVAL 1 SECOND FROM sync.sweeps"
    )
    waiting.query("UPDATE sync.input_versions SET version = version + 1 WHERE name = 'bms.users'")
    run = waiting.run("plan")
    assert run.result.success, run.failures
    assert run.metadata["sync_plan"]["unproved"] > 0
    found = waiting.check_alone("bms_users", "completeness").failed_checks["bms_users completeness"]
    assert found["offenders"] == 1
    assert found["sample"][0].data["reason"] == "drift"


def test_two_links_to_one_record_stop_the_plan(waiting: Pipeline) -> None:
    ((user,), *_) = waiting.query("SELECT passportal_id FROM passportal.users ORDER BY passportal_id")
    waiting.query(f"INSERT INTO sync.matches SELECT 'users', unnest([900001, 900002]), '{user}', 'match', now()")
    run = waiting.run("incremental_sync", select="reconciled_users sync_plan")
    assert set(run.failed_checks) == {"reconciled_users one_to_one"}
    assert run.failed_checks["reconciled_users one_to_one"]["sample"][0].data == {
        "side": "Passportal", "id": user, "links": 2, "linked_to": "900001, 900002",
    }  # fmt: skip
    assert "sync_plan" not in run.metadata


def test_a_link_into_another_client_is_found(waiting: Pipeline) -> None:
    waiting.query(
        "UPDATE sync.reconciled_contacts SET passportal_id = (SELECT min(p.passportal_id) FROM passportal.contacts p"
        " WHERE p.client_id <> reconciled_contacts.client_id)"
        " WHERE bms_id = (SELECT min(bms_id) FROM sync.reconciled_contacts WHERE disposition = 'matched')"
    )
    run = waiting.check_alone("reconciled_contacts", "client_boundary")
    assert run.failed_checks["reconciled_contacts client_boundary"]["offenders"] == 1


def test_a_part_of_the_entities_is_planned_by_selecting_its_dagster_assets(
    fresh: Pipeline,
) -> None:
    run = fresh.run(
        "incremental_sync", select="bms_users passportal_users reconciled_users sync_plan loaded_users sync_result"
    )
    assert run.result.success, run.failures
    assert run.metadata["sync_plan"]["entities"] == "users"
    plan_hash = run.metadata["sync_plan"]["plan hash"]
    loaded = fresh.run("finish", plan_hash=plan_hash)
    assert loaded.result.success, loaded.failures
    assert [key for key in loaded.metadata if key.startswith("loaded_")] == ["loaded_users"]
    assert fresh.query("SELECT loaded_at IS NOT NULL FROM sync.plans ORDER BY plan_id DESC LIMIT 1") == [(True,)]


def test_a_run_waits_for_a_lost_answer_without_the_home_folder_and_then_goes_on(
    waiting: Pipeline, plan_hash: str, losing: Callable[[int], list[bool]]
) -> None:
    alone = waiting.run("finish", select="loaded_contacts", plan_hash=plan_hash)
    assert "Materialize `loaded_clients` first" in alone.failures["loaded_contacts"]
    assert waiting.query("SELECT count(*) FROM sync.journal WHERE outcome = 'refused'") == [(0,)]

    ((lost,), *_) = waiting.query(
        "SELECT bms_id FROM sync.operations WHERE entity = 'contacts' AND operation = 'create' ORDER BY 1"
    )
    let_go = losing(lost)
    run = waiting.run("finish", select="loaded_clients loaded_contacts", plan_hash=plan_hash)
    assert run.result.success, run.failures
    assert let_go == [True], "somebody else could work meanwhile"
    assert created_once(waiting, lost)
    assert waiting.query("SELECT count(*) FROM sync.journal WHERE outcome IS NULL") == [(0,)]
    left = "outcome IN ('failed', 'pending') AND entity IN ('clients', 'contacts')"
    assert waiting.query(f"SELECT count(*) FROM sync.outcomes WHERE {left}") == [(0,)]


def test_a_wrong_password_is_told_tried_once_and_shown_nowhere(
    fresh: Pipeline, sandbox: Sandbox, environment: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in CANARIES.items():
        environment.setenv(name, value)
    sandbox.reset_calls()
    run = fresh.run("initial_sync")
    assert set(run.failures) == {"sweep_accounts", "sweep_employees", "sweep_contacts", "sweep_assets"}
    for text in run.failures.values():
        assert "BMS refused the sign-in" in text
        assert "→ Check BMS_" in text
        assert "LoginRefused" not in text, "the operator reads a sentence, not our class names"
    assert sandbox.calls()["POST /v2/security/authenticate"] == 1, "a few more would lock the user out"

    records = fresh.instance.all_logs(run.result.run_id)
    stored = "\n".join([*map(repr, records), *(serialize_value(each) for each in records), *capfd.readouterr()])
    files = b"".join(each.read_bytes() for each in fresh.home.rglob("*") if each.is_file())
    assert "sweep_accounts" in stored
    for canary in CANARIES.values():
        assert canary not in stored
        assert canary.encode() not in files
