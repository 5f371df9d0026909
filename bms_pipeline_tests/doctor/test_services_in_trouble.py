"""Against a dead, slow, hanging or wrong service, the report comes within half a minute and names the true cause."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bms_pipeline.core.settings import Settings
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor.examine import examine
from bms_pipeline.doctor.findings import Examination
from bms_pipeline_tests.doctor.examining import facts, new_home
from bms_pipeline_tests.running import Home, running_home
from bms_pipeline_tests.stranger.serving import Answer, Request, as_json, serving
from bms_sandbox.behaviour import Behaviour
from bms_sandbox.documents_api.behaviour import PassportalBehaviour

HALF_A_MINUTE = 30.0
LOGIN_PAGE = Answer(200, b"<!doctype html><title>Log In</title><form></form>", {"Content-Type": "text/html"})
ERROR_PAGE = Answer(500, b"<html><h1>500</h1></html>", {"Content-Type": "text/html"})
WRONG: dict[str, Callable[[Request], Answer]] = {
    "an HTML page": lambda _: LOGIN_PAGE,
    "a page with status 500": lambda _: ERROR_PAGE,
    "JSON of something else": lambda _: as_json({"hello": "world"}),
    "not found": lambda _: as_json({"message": "not found"}, 404),
    "a redirect": lambda _: Answer(302, b"", {"Location": "https://login.example/"}),
    "nothing": lambda _: Answer(lost=True),
    "an empty answer": lambda _: Answer(200, b"", {"Content-Type": "application/json"}),
    "an array": lambda _: as_json([1, 2]),
}


def settings_for(folder: Path, bms: str, passportal: str) -> Settings:
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        bms_api_url=bms,
        bms_tenant="Contoso",
        bms_username="api.employee",
        bms_password=SecretStr("secret"),
        passportal_target="documents_api",
        passportal_url=passportal,
        passportal_key_id="key",
        passportal_secret=SecretStr("secret"),
        bms_pipeline_home=folder,
    )


def timed(settings: Settings) -> Examination:
    """Examine, and check that it took less than half a minute."""
    began = time.monotonic()
    report = examine(settings)
    assert time.monotonic() - began < HALF_A_MINUTE
    return report


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_service_is_in_the_way_and_named(tmp_path: Path, kind: str) -> None:
    with serving(WRONG[kind]) as url:
        report = timed(settings_for(new_home(tmp_path), url, url))

    assert report.exit_code == 1
    assert [finding.code for finding in report.groups[Verdict.BLOCKED]] == ["BMS-LOGIN", "PP-KEY"]
    assert all(finding.text and finding.next_step for finding in report.groups[Verdict.BLOCKED])
    assert facts(report) == {}


def test_a_dead_service_is_in_the_way(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = f"http://127.0.0.1:{port}"

    report = timed(settings_for(new_home(tmp_path), url, url))

    assert report.exit_code == 1
    assert ["refused" in finding.text for finding in report.groups[Verdict.BLOCKED]] == [True, True]


@contextmanager
def hanging() -> Iterator[str]:
    """A server that takes every connection and never answers."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for connection in taken:
        connection.close()


def test_a_service_that_never_answers_is_in_the_way(tmp_path: Path) -> None:
    with hanging() as url:
        report = timed(settings_for(new_home(tmp_path), url, url))

    assert report.exit_code == 1
    assert [finding.code for finding in report.groups[Verdict.BLOCKED]] == ["BMS-LOGIN", "PP-KEY"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_home(tmp_path_factory.mktemp("sandbox"), target="documents_api") as running:
        yield running


@pytest.fixture
def examined_with(home: Home, tmp_path: Path) -> Iterator[Callable[..., Examination]]:
    """Examine the sandboxes with these switches of both."""
    assert home.service is not None

    def examined(bms: dict[str, Any], passportal: dict[str, Any] | None = None) -> Examination:
        home.sandbox.behave(**bms)
        home.service.behave(**(passportal or {}))  # type: ignore[union-attr]
        return timed(home.settings.model_copy(update={"bms_pipeline_home": new_home(tmp_path)}))

    yield examined
    home.sandbox.behave(**Behaviour().as_switches())
    home.service.behave(**PassportalBehaviour().as_switches())


def test_a_service_of_a_second_a_call_shows_what_a_quick_one_shows(examined_with: Callable[..., Examination]) -> None:
    quick = facts(examined_with({}))

    slow = examined_with({"latency_seconds": 1}, {"latency_seconds": 1})

    lost = quick.keys() - facts(slow).keys()
    assert lost == set()


def test_only_what_needs_a_hanging_list_is_hidden(examined_with: Callable[..., Examination]) -> None:
    report = examined_with({"faults": [{"route": "crm/contacts", "kind": "hang"}]})

    assert set(report.hidden) == {"FIRST-SYNC", "BMS-EMAILS"}
    assert [finding.code for finding in report.groups[Verdict.BLOCKED]] == ["BMS-LISTS"]
    assert "page 1 of contacts" in report.groups[Verdict.BLOCKED][0].text
    assert report.value("BMS-SORT") == "honoured"


def test_a_module_without_a_right_is_named_with_the_right(examined_with: Callable[..., Examination]) -> None:
    report = examined_with({"faults": [{"route": "hardwareasset", "kind": "status", "status": 403}]})

    (blocked,) = report.groups[Verdict.BLOCKED]
    assert "Assets" in blocked.text
    assert "Assets" in blocked.next_step
    assert report.value("BMS-RIGHTS") is None
    assert report.value("BMS-CLAMP") == "100"


@pytest.mark.parametrize("kind", ["status", "html", "cut", "success_false"])
def test_one_fault_of_a_call_changes_no_fact(examined_with: Callable[..., Examination], kind: str) -> None:
    honest = facts(examined_with({}))

    report = examined_with({"faults": [{"route": "summary", "kind": kind, "on_call": call} for call in (1, 2, 5)]})

    assert {code: value for code, value in facts(report).items() if honest.get(code) != value} == {}


def test_a_used_up_hour_is_said_and_not_waited_for(home: Home, tmp_path: Path) -> None:
    settings = home.settings.model_copy(update={"bms_pipeline_home": new_home(tmp_path), "bms_calls_per_hour": 1})

    timed(settings)
    report = timed(settings)

    assert report.exit_code == 1
    assert "are used in this hour" in report.groups[Verdict.BLOCKED][0].text
