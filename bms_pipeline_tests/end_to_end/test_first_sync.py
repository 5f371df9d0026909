"""The first hour of a new user: preview, approve, sync again, look things up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.reports.figures import COUNTS
from bms_pipeline_tests.running import Home, running_home
from bms_sandbox.process import Sandbox


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_home(tmp_path_factory.mktemp("first_sync")) as home:
        yield home


def test_authenticate_says_who_and_where(home: Home) -> None:
    result = home.call("authenticate")
    assert result.returncode == 0, result.stderr
    assert home.sandbox.url in result.stdout
    assert "Sandbox MSP" in result.stdout


def test_status_before_anything_was_read_counts_nothing(home: Home) -> None:
    status = home.status()
    assert status["plan"] is None
    assert status["initial_sync_finished"] is False
    assert {count or 0 for counts in status["entities"].values() for count in counts.values()} == {0}


def test_preview_shows_changes_and_writes_nothing_to_passportal(home: Home) -> None:
    before = home.passportal("SELECT * FROM records ORDER BY ALL")
    result = home.call("preview", "--json")
    assert result.returncode == 2, result.stderr
    shown = json.loads(result.stdout)
    assert shown["operations"] > 0
    assert {each["operation"] for each in shown["reasons"]} == {"create", "adopt", "skip"}
    assert home.passportal("SELECT * FROM records ORDER BY ALL") == before
    assert home.status()["plan"]["hash"] == shown["hash"]


def test_a_plain_sync_before_the_first_finish_waits_for_a_person(home: Home) -> None:
    before = home.passportal("SELECT * FROM records ORDER BY ALL")
    result = home.call("sync")
    assert result.returncode == 2
    assert "waits for a person" in result.stderr
    assert home.passportal("SELECT * FROM records ORDER BY ALL") == before


def test_finishing_another_plan_is_refused(home: Home) -> None:
    result = home.call("finish", "0123456789ab")
    assert result.returncode == 1
    assert "is not the current plan" in result.stderr
    assert "Traceback" not in result.stderr


def test_finish_loads_exactly_the_approved_plan(home: Home) -> None:
    plan = home.status()["plan"]
    result = home.run("finish", plan["hash"][:12], "--json")
    assert result.returncode == 0, result.stderr
    status = json.loads(result.stdout)
    done = sum(counts[each] for counts in status["entities"].values() for each in ("created", "adopted", "updated"))
    assert done == plan["operations"]
    assert status["initial_sync_finished"] is True
    assert status["plan"] is None


def test_clients_and_users_that_match_nothing_wait_until_a_person_says_create(home: Home) -> None:
    waiting = home.status()["entities"]["clients"]["unmatched"]
    result = home.call("sync", "--create-unmatched", "--json")
    assert result.returncode == 0, result.stderr
    counts = json.loads(result.stdout)["entities"]["clients"]
    assert 0 < counts["created"] < waiting  # what is near-identical to a record of Passportal goes on waiting
    assert counts["unmatched"] == waiting - counts["created"]


def test_the_next_sync_plans_nothing(home: Home) -> None:
    result = home.call("sync", "--json")
    assert result.returncode == 0, result.stderr
    assert home.call("preview", "--full").returncode == 0
    for counts in json.loads(result.stdout)["entities"].values():
        assert counts["created"] == counts["adopted"] == counts["updated"] == counts["failed"] == 0


def test_a_sync_that_is_typed_again_ends_early_and_says_since_when_nothing_is_new(home: Home) -> None:
    assert home.call("sync").returncode == 0
    plans = home.warehouse("SELECT count(*) FROM sync.plans")
    ((made_at,),) = home.warehouse("SELECT max(made_at) FROM sync.plans")
    for arguments in ((), ("--create-unmatched",)):
        result = home.call("sync", *arguments, "--json")
        assert result.returncode == 0, result.stderr
        assert f"Nothing is new since the plan of {made_at:%Y-%m-%d %H:%M} UTC" in result.stderr
        for counts in json.loads(result.stdout)["entities"].values():
            assert counts["created"] == counts["adopted"] == counts["updated"] == 0 < counts["unchanged"]
    assert home.warehouse("SELECT count(*) FROM sync.plans") == plans


@pytest.mark.parametrize(
    "arguments", [("--full",), ("--entity", "users"), ("--client", "CLIENT")], ids=["full", "entity", "client"]
)
def test_a_sync_that_asks_for_more_is_planned_all_the_same(home: Home, arguments: tuple[str, ...]) -> None:
    ((client,),) = home.warehouse("SELECT min(bms_id) FROM sync.matches WHERE entity = 'clients'")
    arguments = tuple(argument.replace("CLIENT", str(client)) for argument in arguments)
    ((before,),) = home.warehouse("SELECT max(plan_id) FROM sync.plans")
    result = home.call("sync", *arguments)
    assert result.returncode == 0, result.stderr
    assert "Nothing is new" not in result.stderr
    assert home.warehouse("SELECT max(plan_id) FROM sync.plans") == [(before + 1,)]


def test_a_sync_of_only_what_is_new_makes_no_plan_where_nothing_is(home: Home) -> None:
    assert home.call("sync", "--incremental").returncode == 0  # closes the plan that a preview left open
    plans = home.warehouse("SELECT count(*) FROM sync.plans")
    result = home.call("sync", "--incremental")
    assert result.returncode == 0, result.stderr
    assert home.warehouse("SELECT count(*) FROM sync.plans") == plans
    refused = home.call("sync", "--incremental", "--create-unmatched")
    assert refused.returncode == 1
    assert "nobody's decision" in refused.stderr


def test_every_record_read_is_accounted_for(home: Home) -> None:
    for entity, counts in home.status()["entities"].items():
        assert counts["read"] > 0, entity
        assert counts["read"] == sum(counts[each] for each in COUNTS if each != "read"), entity


def test_explain_tells_one_records_story(home: Home) -> None:
    ((bms_id, name),) = home.warehouse(
        "SELECT bms_id, b.name FROM sync.matches JOIN bms.assets b USING (bms_id) WHERE entity = 'assets' LIMIT 1"
    )
    story = json.loads(home.call("explain", "assets", str(bms_id), "--json").stdout)
    assert story["in_bms"]["name"] == name
    assert story["match"]["passportal_id"] == story["in_passportal"]["passportal_id"]
    assert story["history"][0]["outcome"] == "done"
    assert home.call("explain", "assets", "999999999").returncode == 1


def test_only_the_chosen_client_is_touched(home: Home, tmp_path: Path) -> None:
    fresh = Home(tmp_path / "home", home.sandbox)
    chosen, client_id = _a_client_that_lacks_an_asset(home.sandbox)
    before = fresh.passportal(f"SELECT * FROM records WHERE client_id <> '{client_id}' ORDER BY ALL")
    first = fresh.call("sync", "--client", chosen)
    assert "another one may have its name" in " ".join(first.stderr.split()), "until all accounts were read"
    assert fresh.call("match", "clients", chosen, client_id).returncode == 0
    result = fresh.call("sync", "--create-unmatched", "--client", chosen, "--json")
    assert result.returncode == 0, result.stderr
    status = json.loads(result.stdout)
    assert status["initial_sync_finished"] is False  # a trial run on one client ends nothing
    assert fresh.passportal(f"SELECT * FROM records WHERE client_id <> '{client_id}' ORDER BY ALL") == before
    created = f"SELECT count(*) FROM records WHERE client_id = '{client_id}' AND type = 'asset' AND marker <> ''"
    assert fresh.passportal(created) > [(0,)]


def _a_client_that_lacks_an_asset(sandbox: Sandbox) -> tuple[str, str]:
    """Id in BMS and in Passportal of a client that both have, with an asset inside that only BMS has."""
    truth = json.loads((sandbox.folder / "truth.json").read_text())["entities"]
    assets = map(json.loads, (sandbox.folder / "assets.ndjson").read_text().splitlines())
    lacking = {str(asset["accountId"]) for asset in assets if asset["id"] in truth["assets"]["new"]}
    return min((bms_id, held) for bms_id, held in truth["clients"]["identical"].items() if bms_id in lacking)
