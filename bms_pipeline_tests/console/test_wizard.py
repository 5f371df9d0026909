"""The whole wizard by its forms, with runs in processes of their own, beside the same decisions by command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from bms_pipeline.console.pages import setup
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.recording import read_status
from bms_pipeline.sync import run_lock
from bms_pipeline_tests.console.serving import Person, served
from bms_pipeline_tests.running import Home
from bms_sandbox.process import Sandbox, running_sandbox

RUN_SECONDS = 120


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox("small", 1, tmp_path_factory.mktemp("tenant"), {"hourly_limit": None}) as found:
        yield found


@pytest.fixture(scope="module")
def read(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """By command line both sides were read, and a plan was made. Not to be used, but copied."""
    home = Home(tmp_path_factory.mktemp("read") / "home", sandbox)
    assert home.call("preview").returncode == 2
    return home


def copied(home: Home, folder: Path) -> Home:
    """The same in another folder."""
    return Home(shutil.copytree(home.folder, folder), home.sandbox)


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in setup.FIELDS:
        monkeypatch.delenv(name, raising=False)


def until_ended(person: Person, page: str = "/runs") -> None:
    """Look at the page of runs, as its script does, until the run is over."""
    give_up = time.monotonic() + RUN_SECONDS
    while time.monotonic() < give_up:
        text = person.get(page)
        renewed_after = re.search(r'id="live"[^>]* data-renew="(\d+)"', text)
        if renewed_after is None:
            return
        time.sleep(int(renewed_after[1]) / 1000)
    raise TimeoutError(person.text)


def connect(person: Person, sandbox: Sandbox) -> None:
    """Fill in the first page of the wizard."""
    login = sandbox.login
    person.get("/setup")
    person.send(
        "/setup/connection", BMS_URL=sandbox.url, BMS_TENANT=login["tenant"], BMS_USERNAME=login["username"],
        BMS_PASSWORD=login["password"],
    )  # fmt: skip


DECISIONS = "SELECT verb, entity, bms_id, passportal_id, was, became FROM sync.decisions ORDER BY ALL"


def test_the_state_after_the_wizard_is_that_after_the_same_decisions_by_command_line(
    sandbox: Sandbox, read: Home, tmp_path: Path
) -> None:
    by_pages, by_command = Home(tmp_path / "pages", sandbox), copied(read, tmp_path / "command")

    with served(by_pages.settings) as console:
        alex = Person(console)
        connect(alex, sandbox)
        alex.send("/setup/authenticate")
        assert f"BMS answers at {sandbox.url}" in alex.text
        alex.send("/setup/read")
        until_ended(alex, "/runs?then=/review/users")
        assert "Done in " in alex.text
        alex.get("/review/users")
        alex.send("/review/users/auto-match")
        alex.get("/review/users/create-unmatched")
        alex.send("/review/users/create-unmatched")
        alex.get("/review/clients")
        alex.send("/review/clients/auto-match")
        alex.get("/review/clients?disposition=unmatched&reason=near_identical_name&sort=id")
        near = [
            int(each)
            for each in alex.form("/review/clients/decide")
            if each.startswith("stamp.")
            for each in [each[6:]]
        ]
        alex.get(f"/review/clients/{near[0]}/match")
        best = alex.source.split('value="match:')[1].split('"')[0].split(":")[1]
        alex.send("/review/clients/decide", act=f"match:{near[0]}:{best}")
        alex.get("/review/clients?disposition=ambiguous")
        alex.send("/review/clients/decide", act="exclude", of="all", why="twins")
        alex.get("/review/clients/create-unmatched")
        alex.send("/review/clients/create-unmatched")
        alex.send("/preview/make")
        until_ended(alex)
        alex.get("/preview")
        assert "not approved" in alex.text
        open_finish(alex)
        alex.send("/preview/finish")
        until_ended(alex, "/runs?then=/")
        assert "Done in " in alex.text, alex.text
        alex.get("/")
        assert "Initial sync finished" in alex.text

    for command in (
        "auto-match users", "create-unmatched users", "auto-match clients", f"match clients {near[0]} {best}",
        "exclude clients --disposition ambiguous --why twins", "create-unmatched clients",
    ):  # fmt: skip
        assert by_command.call(*command.split()).returncode in (0, 2), command
    plan = json.loads(by_command.call("preview", "--saved", "--json").stdout)
    assert by_command.call("finish", plan["hash"]).returncode == 0

    assert by_pages.state() == by_command.state()
    assert by_pages.warehouse(DECISIONS) == by_command.warehouse(DECISIONS)
    assert by_pages.warehouse("SELECT hash FROM sync.plans ORDER BY plan_id DESC LIMIT 1") == [(plan["hash"],)]
    assert by_pages.warehouse("SELECT DISTINCT approved_by FROM sync.plans WHERE approved_by IS NOT NULL") == [
        ("Alex",)
    ]
    assert by_pages.status()["entities"] == by_command.status()["entities"]
    secret = sandbox.login["password"].encode()
    leaked = [each for each in by_pages.folder.rglob("*") if each.is_file() and secret in each.read_bytes()]
    assert [each.name for each in leaked] == [".env"]


def open_finish(person: Person) -> None:
    """Open the last question before the finish of the plan that the preview shows."""
    [address] = re.findall(r'href="(/preview/finish[^"]*)"', person.get("/preview"))
    person.get(address)


def test_a_plan_that_moved_is_refused_and_says_what_moved(sandbox: Sandbox, read: Home, tmp_path: Path) -> None:
    home = copied(read, tmp_path / "home")
    with served(home.settings) as console:
        alex, blake = Person(console), Person(console, "Blake")
        connect(alex, sandbox)
        open_finish(alex)
        asked = alex.form("/preview/finish")
        blake.get("/review/clients?disposition=matched&sort=name")
        blake.send("/review/clients/decide", act="exclude", of="all")
        alex.send("/preview/finish")
        assert "The plan has changed" in alex.text
        assert "decisions changed" in alex.text
        alex.get("/preview")
        assert "Since this plan was made, decisions changed." in alex.text
        assert re.search(r"Blake : exclude .*\(clients\)", alex.text)
        [token] = asked["csrf"]
        for plan_hash, status in (("0" * 32, 409), (asked["hash"][0], 409)):
            answer = alex.session.post(
                f"{alex.origin}/preview/finish", data={"csrf": token, "hash": plan_hash},
                headers={"Origin": alex.origin}, timeout=60,
            )  # fmt: skip
            assert answer.status_code == status
        alex.send("/preview/make")
        until_ended(alex, "/runs?then=/preview")
        alex.get("/preview")
        assert "not approved" in alex.text
    moved = home.call("finish", asked["hash"][0])
    assert moved.returncode == 1, "the plan was replaced"


def test_progress_is_seen_of_whatever_run_and_so_is_one_that_was_killed(sandbox: Sandbox, tmp_path: Path) -> None:
    home = Home(tmp_path / "home", sandbox)
    with served(home.settings) as console:
        alex = Person(console)
        connect(alex, sandbox)
        blake = Person(console, "Blake")
        blake.get("/runs")
        with run_lock.running(home.settings, "bms-pipeline sync") as told:
            told("load contacts", 1200, 5000)
            alex.get("/runs")
            assert "A run is at work" in alex.text
            assert "Loading contacts into Passportal 1,200 of 5,000" in alex.text
            progress = '<progress aria-label="Progress: Loading contacts into Passportal" value="1200" max="5000">'
            assert progress in alex.source
            assert "Sync now" not in alex.text
            assert re.search(r'<noscript>\s*<meta http-equiv="refresh" content="2">\s*</noscript>', alex.source)
            assert "http-equiv" not in alex.get("/runs?paused=1")
            blake.send("/runs/sync")  # from a page of before
            assert "bms-pipeline sync is at work." in blake.text
            assert blake.status == 503
        sandbox.behave(faults=[{"route": "/v2", "kind": "hang"}])  # the run does not come to its end
        alex.get("/runs")
        alex.send("/runs/sync")
        run = wait_for_run(home, "bms-pipeline sync", alex)
        os.kill(run, signal.SIGKILL)
        with suppress(psutil.NoSuchProcess):
            psutil.Process(run).wait(timeout=60)
        until_ended(alex)
        assert "was stopped in the middle" in alex.text
        sandbox.behave(faults=[])


def wait_for_run(home: Home, what: str, person: Person) -> int:
    """The process of the run ``what`` as soon as it tells how far it is."""
    give_up = time.monotonic() + RUN_SECONDS
    while time.monotonic() < give_up:
        run = read_status(open_state(home.settings))
        if run and run.label == what and run.pid != os.getpid() and run.is_running:
            return run.pid
        time.sleep(0.02)
    raise TimeoutError(person.get("/runs"))


@pytest.mark.parametrize("page", ["/records/clients/{}", "/review/clients/{}/match"])
def test_import_this_client_now_reads_it_alone_and_leaves_its_plan_to_a_finish(
    sandbox: Sandbox, read: Home, tmp_path: Path, page: str
) -> None:
    home = copied(read, tmp_path / "home")
    ((client,), *_) = home.warehouse(
        "SELECT bms_id FROM sync.reconciled_clients WHERE disposition = 'matched' ORDER BY ALL"
    )
    with served(home.settings) as console:
        alex = Person(console)
        connect(alex, sandbox)
        alex.get(page.format(client))
        alex.send(f"/preview/client/{client}")
        until_ended(alex, "/runs?then=/preview")
        assert "Done in" in alex.text, alex.text
        alex.get("/preview")
        assert "not approved" in alex.text
    assert home.warehouse("SELECT DISTINCT client FROM sync.sweeps WHERE mode = 'client'") == [(client,)]
    assert home.warehouse("SELECT arg_max(scope ->> '$.clients', plan_id) FROM sync.plans") == [(f"[{client}]",)]


def test_a_client_read_before_all_accounts_were_is_linked_by_a_person_first(sandbox: Sandbox, tmp_path: Path) -> None:
    home = Home(tmp_path / "home", sandbox)
    assert home.call("preview", "--client", "111").returncode in (0, 2)
    with served(home.settings) as console:
        alex = Person(console)
        alex.get("/preview")
        assert "You link this client first." in alex.text
        assert "/review/clients/111/match?back=/preview" in alex.source
        alex.get("/review/clients/111/match?back=/preview")
        assert alex.status == 200
