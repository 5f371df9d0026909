"""Doctor on the Set-up page: findings in three groups after Authenticate, in the background, and no call for a look."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.console.context import Console
from bms_pipeline_tests.console.serving import Person, served
from bms_pipeline_tests.console.test_wizard import connect
from bms_pipeline_tests.running import Home
from bms_sandbox.process import Sandbox, running_sandbox
from bms_sandbox.security import PASSWORD


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox("small", 1, tmp_path_factory.mktemp("tenant"), {"hourly_limit": None}) as found:
        yield found


@pytest.fixture
def home(sandbox: Sandbox, tmp_path: Path) -> Home:
    return Home(tmp_path / "home", sandbox)


@pytest.fixture
def console(home: Home) -> Iterator[Console]:
    with served(home.settings) as found:
        yield found
        found.examinations.end()


def until_examined(person: Person, address: str = "/setup") -> None:
    """Wait as a person does who reloads the page."""
    for _ in range(240):
        person.get(address)
        if "looking at both services" not in person.text:
            return
        time.sleep(0.5)
    raise TimeoutError(person.text)


def test_authenticate_starts_it_and_the_page_shows_it_in_groups(console: Console, sandbox: Sandbox) -> None:
    alex = Person(console)
    connect(alex, sandbox)
    assert "Nobody has looked yet" in alex.text

    alex.send("/setup/authenticate")

    assert f"BMS answers at {sandbox.url}" in alex.text
    assert "looking at both services" in alex.text, "it goes on in the background"
    until_examined(alex)
    assert "Ready" in alex.text
    assert "Nobody can know yet" in alex.text
    assert "BMS-CLAMP" in alex.text
    assert "Looked at" in alex.text
    assert "Examine again" in alex.text


def test_to_look_at_the_page_asks_no_service(console: Console, sandbox: Sandbox) -> None:
    alex = Person(console)
    connect(alex, sandbox)
    alex.send("/setup/examine")
    until_examined(alex)
    sandbox.reset_calls()

    for address in ("/setup", "/setup/examination", "/setup"):
        assert "BMS-CLAMP" in alex.get(address)

    assert sum(sandbox.calls().values()) == 0


def test_another_connection_forgets_what_was_seen_of_the_former_one(console: Console, sandbox: Sandbox) -> None:
    alex = Person(console)
    connect(alex, sandbox)
    alex.send("/setup/examine")
    until_examined(alex)
    assert "BMS-CLAMP" in alex.text
    alex.send("/setup/connection")
    assert "BMS-CLAMP" in alex.text, "nothing changed"

    alex.send("/setup/connection", BMS_TENANT="Somebody else")

    assert "BMS-CLAMP" not in alex.text
    assert "Nobody has looked yet" in alex.text


def test_a_report_of_the_command_line_is_shown_too(console: Console, home: Home) -> None:
    assert home.call("doctor").returncode == 0

    alex = Person(console)

    assert "BMS-CLAMP" in alex.get("/setup")
    report = home.folder / "doctor.json"
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert PASSWORD not in report.read_text(encoding="utf-8")


def test_where_a_setting_is_missing_its_field_is_named_and_nothing_starts(console: Console) -> None:
    alex = Person(console)
    alex.get("/setup")

    alex.send("/setup/examine")

    assert "Fill in the marked fields" in alex.text
    assert not console.examinations.is_running


def test_a_service_in_the_way_is_said_at_the_top(console: Console, sandbox: Sandbox) -> None:
    alex = Person(console)
    connect(alex, sandbox)
    alex.send("/setup/connection", BMS_PASSWORD="wrong")
    alex.send("/setup/examine")

    until_examined(alex)

    assert alex.text.index("In the way") < alex.text.index("BMS refused the sign-in")
    assert "wrong" not in alex.text.split("BMS refused")[1].split("Examine again")[0]


def test_a_second_press_while_it_looks_starts_no_other(console: Console) -> None:
    examinations = console.examinations
    examinations.start()
    child = examinations._child

    examinations.start()

    assert examinations._child is child
    examinations.end()
    assert not examinations.is_running
