"""`preview --client` and `sync --client`: one client alone, for about ten calls."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline.core.errors import PlanWaits
from bms_pipeline.sync import whole_sync
from bms_pipeline_tests.running import Home, running_home

ACCOUNT, NAME, ASSETS = 111, "Andrews Law Corp", 32
"""A client of the sandbox's small tenant."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with running_home(tmp_path) as home:
        yield home


def calls(text: str) -> tuple[int, int]:
    """The calls to BMS and to Passportal that a command says it made."""
    found = re.search(r"Calls made: ([\d,]+) to BMS, ([\d,]+) to Passportal", text)
    assert found is not None, text
    return int(found[1].replace(",", "")), int(found[2].replace(",", ""))


def in_passportal_as(home: Home, account: int) -> str | None:
    """The client of Passportal with the account's name."""
    rows = home.passportal("SELECT id, title FROM records WHERE type = 'client'")
    return next((str(row[0]) for row in rows if row[1].strip() == NAME and account == ACCOUNT), None)


def link(home: Home) -> None:
    """A person links the client, after a look at it."""
    assert home.call("preview", "--client", str(ACCOUNT)).returncode == 0
    held = in_passportal_as(home, ACCOUNT)
    create = ("create", "clients", str(ACCOUNT), "--allow-duplicate")  # Passportal has nearly its name
    verb = ("match", "clients", str(ACCOUNT), held) if held else create
    decided = home.call(*verb)
    assert decided.returncode == 0, decided.stderr


def plan(home: Home) -> dict[str, Any]:
    shown: dict[str, Any] = home.status()["plan"]
    return shown


def test_a_preview_costs_about_ten_calls_and_says_so_before_and_after(home: Home) -> None:
    ran = home.call("preview", "--client", str(ACCOUNT))
    assert ran.returncode == 0, ran.stderr
    assert "This client is read alone. Calls: about 10 to BMS, none to Passportal, which is a file here." in ran.stderr
    assert calls(ran.stderr) == (10, 0)
    assert home.warehouse("SELECT DISTINCT mode, client FROM sync.sweeps") == [("client", ACCOUNT)]
    assert home.warehouse("SELECT count(*) FROM bms.assets") == [(ASSETS,)]
    assert home.warehouse("SELECT count(*) FROM bms.users") == [(0,)], "users belong to no client"


def test_the_first_client_is_linked_by_a_person_and_finished_by_its_hash(home: Home) -> None:
    seen = home.call("preview", "--client", str(ACCOUNT), "--json")
    reasons = {row["reason"] for row in json.loads(seen.stdout)["reasons"] if row["entity"] == "clients"}
    assert reasons == {"accounts_not_all_read"}
    assert f"bms-pipeline create clients {ACCOUNT}" in seen.stderr, "the next step"
    assert any("only 1 client was read so far" in warning for warning in home.status()["warnings"])
    link(home)
    waits = home.call("sync", "--client", str(ACCOUNT))
    assert waits.returncode == 2, waits.stderr
    assert f"bms-pipeline finish {plan(home)['hash'][:12]}" in " ".join(waits.stderr.split())
    assert calls(waits.stderr)[0] <= 12
    done = home.call("finish", plan(home)["hash"])
    assert done.returncode == 0, done.stderr
    again = home.call("preview", "--client", str(ACCOUNT))
    assert again.returncode == 0, again.stdout
    assert not home.status()["initial_sync_finished"], "one client is not the initial sync"


def test_a_full_sync_after_it_makes_no_duplicate(home: Home) -> None:
    link(home)
    home.call("sync", "--client", str(ACCOUNT))
    assert home.call("finish", plan(home)["hash"]).returncode == 0
    matches = home.warehouse("SELECT entity, bms_id, passportal_id FROM sync.matches")
    before = home.passportal("SELECT count(*) FROM records WHERE marker IS NOT NULL")
    assert before != [(0,)]
    assert home.call("preview").returncode == 2
    moved = f"SELECT operation, count(*) FROM sync.operations WHERE account_id = {ACCOUNT} GROUP BY ALL"
    assert {row[0] for row in home.warehouse(moved)} <= {"skip"}
    assert set(matches) <= set(home.warehouse("SELECT entity, bms_id, passportal_id FROM sync.matches"))


def test_a_name_does_as_well_as_an_id_before_and_after_all_accounts_were_read(home: Home) -> None:
    asked = home.call("preview", "--client", f"  {NAME.upper()} ")
    assert asked.returncode == 0, asked.stderr
    assert calls(asked.stderr)[0] <= 12
    assert home.warehouse("SELECT DISTINCT client FROM sync.sweeps") == [(ACCOUNT,)]
    home.call("preview")
    stored = home.call("preview", "--client", NAME)
    assert calls(stored.stderr)[0] == 10


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("999999", "BMS shows no account 999999"),
        ("No such client", "BMS shows no client called “No such client”"),
    ],
)
def test_a_client_that_bms_does_not_show_is_said_and_nothing_is_stored(home: Home, given: str, said: str) -> None:
    ran = home.call("preview", "--client", given)
    assert ran.returncode == 1
    assert said in " ".join(ran.stderr.split())
    assert home.warehouse("SELECT count(*) FROM bms.clients") == [(0,)]


def test_a_bms_that_ignores_the_filter_is_refused_by_name_and_nothing_is_stored(home: Home) -> None:
    home.sandbox.behave(account_filter="ignored")
    ran = home.call("sync", "--client", str(ACCOUNT))
    assert ran.returncode == 1
    assert "does not honour Filter.AccountId" in " ".join(ran.stderr.split())
    for table in ("bms.clients", "bms.contacts", "bms.assets", "sync.sweeps"):
        assert home.warehouse(f"SELECT count(*) FROM {table}") == [(0,)]
    assert list((home.folder / "landing").rglob("contacts/**/*.zst")) == [], "nor a page of them"
    assert home.warehouse("FROM sync.plans") == []


def test_importing_it_reads_it_alone_and_asks_for_its_finish(home: Home) -> None:
    """As the partition of Dagster does, before anything else was read."""
    link(home)
    with pytest.raises(PlanWaits) as waits:
        list(whole_sync.import_clients(home.settings, [ACCOUNT]))
    assert plan(home)["hash"][:12] in waits.value.next_step
    home.approve(plan(home)["hash"])
    (group,) = whole_sync.import_clients(home.settings, [ACCOUNT])
    assert [client.client for client in group] == [ACCOUNT]
    assert group[0].failed_because is None
    assert group[0].counts.get("created", 0) > 0
    assert home.call("preview", "--client", str(ACCOUNT)).returncode == 0
    assert home.warehouse("SELECT count(*) FROM sync.matches WHERE entity = 'clients'") == [(1,)]


def test_users_of_one_client_are_a_mistake(home: Home) -> None:
    ran = home.call("preview", "--client", str(ACCOUNT), "--entity", "users")
    assert ran.returncode == 1
    assert "Users belong to no client" in ran.stderr
