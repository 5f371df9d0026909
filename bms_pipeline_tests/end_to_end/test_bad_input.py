"""What goes wrong outside: one clear message naming what and where, exit code 1, nothing half-loaded, no secret told.

After each fault the same command works again and continues where it stopped.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from pytest_httpserver import HTTPServer

from bms_pipeline.sync import whole_sync
from bms_pipeline_tests import lake
from bms_pipeline_tests.running import Home, quick_and_soak, running_home

CANARY = "canary-7f3a91-secret"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_home(tmp_path_factory.mktemp("bad_input"), seed=4) as home:
        yield home


@pytest.fixture
def contents(home: Home) -> Iterator[None]:
    """Passportal is the same after the test as before it."""
    before = home.passportal("SELECT * FROM records ORDER BY ALL")
    yield
    assert home.passportal("SELECT * FROM records ORDER BY ALL") == before


def complaint(result: subprocess.CompletedProcess[str], *words: str) -> str:
    """The one message of a failed run, checked for what every message has to be."""
    assert result.returncode == 1, (result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    assert CANARY not in result.stdout + result.stderr
    assert len([each for each in result.stderr.splitlines() if each.startswith("Error:")]) == 1
    assert "Next:" in result.stderr
    for word in words:
        assert word in result.stderr, result.stderr
    return result.stderr


@pytest.mark.parametrize("status", ["401", "400", "200"])
def test_a_wrong_password_is_told_apart_from_everything_else(home: Home, contents: None, status: str) -> None:
    home.sandbox.behave(wrong_password=status)
    complaint(home.call("authenticate", BMS_PASSWORD=CANARY), "user name", "password", "BMS_PASSWORD")


def test_a_wrong_tenant_names_the_setting(home: Home, contents: None) -> None:
    complaint(home.call("authenticate", BMS_TENANT="Another MSP"), "BMS_TENANT")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"BMS_URL": ""}, ["BMS_URL"]),
        ({"BMS_URL": "http://bms.example.com"}, ["https"]),
        ({"BMS_URL": f"https://somebody:{CANARY}@bms.example.com"}, ["user"]),
        ({"BMS_URL": "http://127.0.0.1:9"}, ["127.0.0.1"]),
        ({"BMS_URL": "https://bms.invalid"}, ["bms.invalid"]),
        ({"BMS_CALLS_PER_HOUR": "many"}, ["BMS_CALLS_PER_HOUR"]),
    ],
)
def test_a_wrong_address_or_setting_is_named(
    home: Home, contents: None, settings: dict[str, str], words: list[str]
) -> None:
    complaint(home.call("authenticate", BMS_PASSWORD=CANARY, **settings), *words)


def test_a_self_signed_certificate_is_refused(home: Home, contents: None) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with HTTPServer(host="localhost", ssl_context=context) as server:
        url = server.url_for("/")
        complaint(
            home.call("authenticate", BMS_URL=url, BMS_API_URL=url, BMS_PASSWORD=CANARY), "certificate", "localhost"
        )


def test_an_env_file_that_others_can_read_is_refused(home: Home, contents: None) -> None:
    env_file = home.folder / ".env"
    env_file.write_text(f"BMS_PASSWORD={CANARY}\n")
    env_file.chmod(0o644)
    complaint(home.call("status"), ".env", "chmod 600")
    env_file.unlink()


FAULTS: list[tuple[dict[str, Any], list[str]]] = [
    ({"kind": "html"}, ["HTML", "contacts"]),
    ({"kind": "truncated"}, ["contacts", "page"]),
    ({"kind": "cut"}, ["BMS"]),
    ({"kind": "empty_body"}, ["contacts"]),
    ({"kind": "result_null"}, ["contacts"]),
    ({"kind": "success_false"}, ["contacts"]),
    ({"kind": "success_text"}, ["contacts"]),
    ({"kind": "redirect"}, ["redirect"]),
    ({"kind": "status", "status": 403}, ["contacts"]),
    ({"kind": "retyped", "field": "jobTitle"}, ["contacts", "jobTitle", "page-"]),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS, ids=[fault["kind"] for fault, _ in FAULTS])
def test_a_faulty_answer_stops_the_run_before_anything_is_loaded(
    home: Home, contents: None, fault: dict[str, Any], words: list[str]
) -> None:
    home.sandbox.behave(faults=[{"route": "contacts/summary", **fault}])
    try:
        complaint(home.call("sync", "--create-unmatched", "--entity", "contacts", "--full"), *words)
    finally:
        home.sandbox.behave(faults=[])


def test_after_all_these_faults_the_same_command_works(home: Home) -> None:
    result = home.run("sync", "--create-unmatched", "--full")
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(lake.IS_WANTED, reason="a lake keeps nobody out, so nobody holds it")
def test_a_busy_database_names_its_holder(home: Home, contents: None) -> None:
    hold = "import duckdb, signal, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); signal.pause()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(home.settings.warehouse_file)], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline().strip() == "held"
            complaint(home.run("status", BMS_PIPELINE_WAIT_SECONDS="1"), str(holder.pid), "warehouse.duckdb")
        finally:
            holder.kill()
    assert home.call("status").returncode == 0


def test_a_second_run_at_the_same_time_is_refused_and_names_the_first(home: Home) -> None:
    home.sandbox.behave(faults=[{"route": "crm/accounts", "kind": "hang"}])  # the first does not come to its end
    with subprocess.Popen(
        [sys.executable, "-m", "bms_pipeline.cli", "preview", "--full"],
        env=home.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as first:
        try:
            assert first.stderr is not None
            assert first.stderr.readline().startswith("sign in to BMS")  # it holds the lock by now
            complaint(home.call("sync"), f"process {first.pid}")
        finally:
            first.kill()
            home.sandbox.behave(faults=[])
    assert home.call("sync", "--entity", "users").returncode in {0, 2}  # the lock ended with its process


def test_a_full_disk_is_told_and_the_next_run_continues(home: Home, tmp_path: Path) -> None:
    """A file size limit stands for the full disk: the same error, from the same system calls, without a mount."""
    small = Home(tmp_path / "home", home.sandbox)
    room = 30_000 if small.has_lake else 200_000  # a lake has many small files
    limited = (
        "-c",
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f" resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room})); sys.argv[0] = 'bms-pipeline';"
        " from bms_pipeline.cli.app import main; main()",
    )
    complaint(small.run("sync", "--create-unmatched", wrapper=limited), "space", str(small.folder))
    assert small.call("preview").returncode == 2, "a plan is made, and waits"


def test_the_hourly_limit_stops_the_run_and_the_next_hour_continues(home: Home, tmp_path: Path) -> None:
    small = Home(tmp_path / "home", home.sandbox)
    message = complaint(small.call("preview", BMS_CALLS_PER_HOUR="4"), "4 of 4 calls", "Run again")
    assert "asset" in message
    home.sandbox.reset_calls()
    result = small.call("preview")
    assert result.returncode == 2, result.stderr
    read = sum(calls for route, calls in home.sandbox.calls().items() if "hardwareasset" in route)
    assert read <= 8  # the pages that were read before were not read again


def test_what_bms_sends_beyond_its_document_is_kept_and_told(home: Home) -> None:
    home.sandbox.behave(faults=[{"route": "contacts/summary", "kind": "unknown_field"}])
    result = home.call("sync", "--full", "--create-unmatched")
    home.sandbox.behave(faults=[])
    assert result.returncode == 0, result.stderr
    assert "contacts.newVendorField" in result.stdout
    assert home.warehouse("SELECT count(*) FROM bms.contacts WHERE json ->> '$.newVendorField' IS NOT NULL") > [(0,)]


@pytest.mark.parametrize("kind", quick_and_soak(["lone_surrogate"], ["deep", "nan"]))
def test_a_record_that_no_database_would_take_is_set_aside_and_told(home: Home, kind: str) -> None:
    """The rest goes on, and what was set aside does not count as gone."""
    whole_sync.prepare(home.settings, full=True)
    before = home.warehouse("SELECT count(*) FROM bms.contacts WHERE missing_since IS NULL")
    home.sandbox.behave(faults=[{"route": "contacts/summary", "kind": kind, "field": "jobTitle", "row": 3}])
    result = home.call("sync", "--full", "--create-unmatched")
    home.sandbox.behave(faults=[])
    assert result.returncode == 0, result.stderr
    assert "were set aside" in result.stdout, result.stdout
    assert home.warehouse("SELECT count(*) FROM bms.contacts WHERE missing_since IS NULL") == before


# BMS is no longer what it was. The initial sync is finished, so nobody would look before a load.


@pytest.fixture(scope="module")
def finished(home: Home) -> Home:
    """The home after its initial sync, also where this runs without the tests above."""
    if not home.status()["initial_sync_finished"]:
        assert home.call("sync", "--create-unmatched").returncode == 0
    return home


@pytest.fixture
def plan_kept(finished: Home, home: Home, contents: None) -> Iterator[None]:
    """Neither Passportal nor the current plan is touched."""
    query = "SELECT arg_max(hash, plan_id), max(plan_id) FROM sync.plans"
    before = home.warehouse(query)
    yield
    home.sandbox.behave(faults=[], tenant_id=4711)
    assert home.warehouse(query) == before


@pytest.mark.parametrize(
    "route", quick_and_soak(["hardwareasset"], ["employees", "contacts/summary", "accounts/summary"])
)
def test_a_lost_permission_for_one_module_stops_before_any_write(home: Home, plan_kept: None, route: str) -> None:
    home.sandbox.behave(faults=[{"route": route, "kind": "status", "status": 403}])
    complaint(home.call("sync", "--full"), route.partition("/")[0].removeprefix("hardware"))


def test_another_tenant_behind_the_same_address_stops_before_any_write(home: Home, plan_kept: None) -> None:
    read = home.warehouse("SELECT count(*) FROM sync.sweeps")
    home.sandbox.behave(tenant_id=4712)
    complaint(home.call("sync", "--full"), "tenant 4712", "4711", "BMS_PIPELINE_HOME")
    assert home.warehouse("SELECT count(*) FROM sync.sweeps") == read


@pytest.mark.soak
def test_a_halved_list_stops_until_a_person_finishes_the_plan_and_what_is_gone_is_listed_with_its_age(
    finished: Home, home: Home, tmp_path: Path
) -> None:
    before = home.passportal("SELECT * FROM records ORDER BY ALL")
    home.sandbox.behave(faults=[{"route": "contacts/summary", "kind": "shift", "amount": -110, "times": 1}])
    said = complaint(
        home.call("sync", "--full"), "matched contacts are gone from BMS since the last load, more than 20%"
    )
    home.sandbox.behave(faults=[])
    complaint(home.call("sync", "--full", "--create-unmatched"), "matched contacts are gone")
    assert home.passportal("SELECT * FROM records ORDER BY ALL") == before
    plan_hash = re.findall(r"bms-pipeline finish (\w+)", said)[0]
    assert home.warehouse("SELECT arg_max(hash, plan_id)[:12] FROM sync.plans") == [(plan_hash,)]
    assert home.call("finish", plan_hash).returncode == 0
    assert home.call("sync", "--full").returncode == 0
    assert home.passportal("SELECT count(*) FROM records") == [(len(before),)]

    orphans = json.loads(home.call("orphans", "--entity", "contacts", "--json").stdout)
    counts = home.status()["entities"]["contacts"]
    assert len(orphans) == counts["orphaned"] > 20
    assert counts["oldest_orphan_days"] == 0
    assert f"{len(orphans)} contacts (oldest: 0 days)" in home.call("status").stdout
    written = home.call("orphans", "--entity", "contacts", "--csv", str(tmp_path / "orphans.csv"))
    assert "Gone from BMS and kept in Passportal" in written.stdout
    assert len((tmp_path / "orphans.csv").read_text().splitlines()) == len(orphans) + 1


def test_an_emptied_list_stops_before_any_write(finished: Home, home: Home, contents: None) -> None:
    home.sandbox.behave(faults=[{"route": "hardwareasset", "kind": "shift", "amount": -100_000, "times": 1}])
    said = complaint(home.call("sync"), "matched assets are gone from BMS since the last load")
    gone, matched = re.findall(r"([\d,]+) of ([\d,]+) matched assets", said)[0]
    assert gone == matched
