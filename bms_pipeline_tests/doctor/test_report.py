"""The command: one screen, three groups, an exit code, the same as JSON; facts that last, and their contradiction."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from bms_pipeline.cli.doctor import COLUMNS, LINES, screen
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor.examine import examine
from bms_pipeline.doctor.findings import Examination, Finding
from bms_pipeline.warehouse.connection import connect
from bms_pipeline.warehouse.facts import Fact
from bms_pipeline_tests.doctor.examining import changed, examined, new_home
from bms_pipeline_tests.running import Home, called, running_home
from bms_pipeline_tests.stranger import bms as vendor
from bms_pipeline_tests.stranger import passportal as target
from bms_pipeline_tests.stranger.bms import BmsHabits
from bms_pipeline_tests.stranger.passportal import PassportalHabits
from bms_sandbox.documents_api.security import SECRET
from bms_sandbox.security import PASSWORD


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_home(tmp_path_factory.mktemp("sandbox"), target="documents_api") as running:
        yield running


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_home(tmp_path_factory.mktemp("embedded")) as running:
        yield running


def test_a_tenant_that_fits_is_ready_and_exits_with_0(embedded: Home) -> None:
    ran = embedded.call("doctor")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "In the way" not in ran.stdout
    assert "You decide" not in ran.stdout
    assert "the embedded store stands in for Passportal" in " ".join(ran.stdout.split())
    assert "28 accounts, 211 contacts, 12 employees" in ran.stdout


def test_the_report_fits_one_screen(home: Home) -> None:
    ran = home.call("doctor")

    lines = ran.stdout.splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS
    assert lines[-1].endswith("bms-pipeline doctor -v")


def test_every_check_and_how_it_was_seen_is_shown_on_demand(home: Home) -> None:
    shown = json.loads(home.call("doctor", "--json").stdout)
    ran = home.call("doctor", "-v")

    assert all(finding["code"] in ran.stdout for finding in shown["findings"])
    assert ran.stdout.count("seen by:") == sum(finding["value"] is not None for finding in shown["findings"])


def test_json_has_the_same_exit_code_and_findings(home: Home) -> None:
    plain, ran = home.call("doctor"), home.call("doctor", "--json")

    shown = json.loads(ran.stdout)
    assert ran.returncode == plain.returncode == shown["exit_code"] == 2, "the sandbox has titles that fold alike"
    assert {finding["verdict"] for finding in shown["findings"]} == {"ready", "decide", "unknown"}
    assert shown["calls"]["BMS"] <= 24
    assert shown["calls"]["Passportal"] <= 16
    assert shown["not_checked"] == []


def test_no_secret_is_shown(home: Home) -> None:
    ran = home.call("doctor", "-v", "--json")

    assert PASSWORD not in ran.stdout + ran.stderr
    assert SECRET not in ran.stdout + ran.stderr


def test_a_wrong_password_is_in_the_way_and_exits_with_1(home: Home) -> None:
    ran = home.call("doctor", BMS_PASSWORD="wrong")

    assert ran.returncode == 1
    assert "In the way" in ran.stdout
    assert "BMS refused the sign-in" in " ".join(ran.stdout.split())
    assert "Not checked, for want of an answer" in ran.stdout


@pytest.mark.parametrize("command", ["doctor", "authenticate"])
def test_where_nothing_is_set_the_error_teaches(tmp_path: Path, command: str) -> None:
    ran = called(command, environment={"BMS_PIPELINE_HOME": str(tmp_path / "home")}, folder=tmp_path)

    assert ran.returncode == 1
    said = " ".join(ran.stderr.split())
    assert "BMS_URL, BMS_TENANT, BMS_USERNAME and BMS_PASSWORD are not set." in said
    assert "in .env in this folder" in said
    assert not (tmp_path / "home").exists()


def test_a_fact_lasts_and_a_contradiction_is_named(tmp_path: Path) -> None:
    folder = new_home(tmp_path)
    first = examined(folder, BmsHabits(clamp=60)).report
    again = examined(folder, BmsHabits(clamp=60)).report
    later = examined(folder, BmsHabits(clamp=50)).report

    (clamp,) = [finding for finding in again.findings if finding.code == "BMS-CLAMP"]
    (now,) = [finding for finding in later.findings if finding.code == "BMS-CLAMP"]
    assert changed(first, again) == {}
    assert clamp.since == next(finding.since for finding in first.findings if finding.code == "BMS-CLAMP")
    assert (now.was, now.value) == ("60", "50")
    assert now.text.endswith(f"(Was 60 since {clamp.since:%Y-%m-%d}, is 50 now.)")
    assert any("Was 60 since" in line for line in screen(later)), "it is on the first screen"


def test_what_an_answer_lacks_takes_no_fact_back(tmp_path: Path) -> None:
    folder = new_home(tmp_path)
    examined(folder, BmsHabits(clamp=60))
    examined(folder, BmsHabits(clamp=1000))  # every list fits one page: it shows no maximum

    later = examined(folder, BmsHabits(clamp=50)).report

    assert [finding.was for finding in later.findings if finding.code == "BMS-CLAMP"] == ["60"]


def test_a_home_folder_of_another_tenant_is_in_the_way_and_keeps_its_facts(home: Home) -> None:
    home.call("preview")
    before = home.warehouse("FROM sync.facts ORDER BY ALL")
    home.sandbox.behave(tenant_id=99, page_totals=False)
    try:
        ran = home.call("doctor")
    finally:
        home.sandbox.behave(tenant_id=4711, page_totals=True)

    assert ran.returncode == 1
    assert "BMS-TENANT" in ran.stdout
    assert home.warehouse("FROM sync.facts ORDER BY ALL") == before


def test_a_warehouse_that_another_process_holds_delays_nothing(embedded: Home) -> None:
    held, let_go = threading.Event(), threading.Event()
    settings = embedded.settings

    def hold() -> None:
        with closing(connect(settings.warehouse_file)):
            held.set()
            let_go.wait(60)

    embedded.call("status")
    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(30)
        ran = embedded.run("doctor")
    finally:
        let_go.set()
        thread.join(60)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Not kept for later" in ran.stdout
    assert "28 accounts" in ran.stdout


def test_two_strangers_at_once_stay_within_forty_calls_and_no_write(tmp_path: Path) -> None:
    seen = examined(new_home(tmp_path), BmsHabits(clamp=6), PassportalHabits(per_page=7))

    assert len(seen.bms_calls) + len(seen.passportal_calls) <= 40
    assert seen.writes == []
    shown = "\n".join(screen(seen.report, verbose=True))
    assert vendor.PASSWORD not in shown
    assert target.SECRET not in shown


def test_a_full_report_of_long_findings_fits_the_screen_with_what_is_in_the_way_first() -> None:
    long = "The template of this tenant has no plain field for many of the values of BMS and says so at length. " * 2
    findings = [Finding(f"PP-{group.upper()}-{n}", group, long, long[:90]) for group in Verdict for n in range(4)]

    shown = screen(Examination(findings, {"BMS": 24, "Passportal": 16}, 12.0, ["BMS-SORT"] * 30, ""))

    assert len(shown) <= LINES
    assert "In the way" in shown[0]
    assert any("PP-BLOCKED-0" in line for line in shown)


def test_the_exit_code_is_that_of_the_worst_finding() -> None:
    found = {group: Finding("X", group, "") for group in Verdict}
    ready, unknown = found[Verdict.READY], found[Verdict.UNKNOWN]

    def code(*findings: Finding) -> int:
        return Examination(findings, {}, 0).exit_code

    assert code() == code(ready) == code(unknown, ready) == 0
    assert code(ready, found[Verdict.DECIDE], unknown) == 2
    assert code(found[Verdict.DECIDE], found[Verdict.BLOCKED]) == 1


def test_a_finding_without_a_value_is_compared_with_nothing() -> None:
    finding = Finding("BMS-SORT", Verdict.UNKNOWN, "not seen")
    before = Fact("BMS-SORT", "honoured", "", datetime(2026, 1, 1))

    assert finding.compared(before, datetime(2026, 2, 1)) == finding
    assert replace(finding, value="ignored").compared(before, datetime(2026, 2, 1)).was == "honoured"


def test_the_settings_of_a_person_are_never_changed(home: Home) -> None:
    before = home.warehouse("FROM sync.settings ORDER BY ALL")

    examine(home.settings)

    assert home.warehouse("FROM sync.settings ORDER BY ALL") == before
