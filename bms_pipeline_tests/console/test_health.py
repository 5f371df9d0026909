"""`/healthz` and `/metrics`: what a monitoring system sees without log-in, and what nobody sees there."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bms_pipeline.console.context import Console
from bms_pipeline.core.settings import Settings
from bms_pipeline.reports import metrics
from bms_pipeline.sync import run_lock
from bms_pipeline_tests.building import World, opened_world
from bms_pipeline_tests.console.serving import served

PAGES = ("/healthz", "/metrics")


@pytest.fixture(scope="module")
def world(prepared: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The prepared one, after a run that read BMS and ended well. Nothing that is tried here may change it."""
    with opened_world(tmp_path_factory.mktemp("monitored") / "home", like=prepared) as found:
        found.let_go_of_the_warehouse()
        with run_lock.running(found.settings, "a sync"):
            found.land()
        yield found


@pytest.fixture(scope="module")
def console(world: World) -> Iterator[Console]:
    with served(world.settings) as found:
        yield found


def ask(console: Console, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
    """A request of a monitoring system: no cookie, and these headers."""
    with closing(http.client.HTTPConnection("127.0.0.1", console.port, timeout=30)) as connection:
        sent = {"Host": f"127.0.0.1:{console.port}"} | {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request(method, path, headers=sent)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {name.lower(): text for name, text in answer.getheaders()}


def test_a_console_with_a_readable_state_is_healthy_and_tells_the_age_of_the_last_success(console: Console) -> None:
    status, text, headers = ask(console, "/healthz")
    found = json.loads(text)
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert found["status"] == "ok"
    assert 0 <= found["last_success_age_seconds"] < 3600
    assert found["initial_sync_finished"] is False
    assert ask(console, "/healthz", "HEAD")[:2] == (200, "")


def test_a_home_in_which_nothing_ever_ran_is_healthy_without_an_age(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, bms_pipeline_home=tmp_path)  # type: ignore[call-arg]
    with served(settings) as console:
        status, text, _ = ask(console, "/healthz")
        assert status == 200
        assert json.loads(text) == {"status": "ok", "last_success_age_seconds": None, "initial_sync_finished": None}
        assert "bms_pipeline_last_success_timestamp_seconds" not in ask(console, "/metrics")[1]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"at": 1}', None])
def test_an_unreadable_state_is_503_with_the_reason_and_no_path(
    console: Console, world: World, content: str | None
) -> None:
    file = world.settings.published_file
    aside = file.rename(file.with_name("aside"))
    if content is None:
        file.mkdir()
    else:
        file.write_text(content)
    health, scraped = ask(console, "/healthz"), ask(console, "/metrics")
    if content is None:
        file.rmdir()
    aside.replace(file)
    assert health[0] == 503
    assert json.loads(health[1]) == {"status": "unavailable", "reason": "state_file_unreadable"}
    assert scraped[0] == 503
    assert str(world.settings.bms_pipeline_home) not in scraped[1]
    assert ask(console, "/healthz")[0] == 200


def test_an_unreadable_copy_is_503_with_the_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(world.settings) as console:
        monkeypatch.setattr(console.reading.copy, "cached", _failing)
        status, text, _ = ask(console, "/healthz")
        assert status == 503
        assert json.loads(text) == {"status": "unavailable", "reason": "copy_unreadable"}
        status, text, _ = ask(console, "/metrics")
        assert status == 503
        assert "secret" not in text


def _failing(*_: object) -> None:
    raise duckdb.IOException("a secret path")


def test_the_metrics_are_those_of_the_warehouse(console: Console, world: World) -> None:
    status, text, headers = ask(console, "/metrics")
    assert status == 200
    assert headers["content-type"] == metrics.CONTENT_TYPE
    with world.warehouse.open() as connection:
        samples = metrics.warehouse_samples(connection)
    assert text == metrics.prometheus_text([*samples, *metrics.home_samples(world.settings)])
    found = {family.name: family for family in text_string_to_metric_families(text)}
    waiting = {sample.labels["entity"]: sample.value for sample in found["bms_pipeline_waiting_records"].samples}
    assert (waiting["clients"], waiting["users"]) == (3, 2)


def test_no_name_path_or_secret_is_in_them(console: Console, world: World) -> None:
    names = [name for (name,) in world.query("SELECT name FROM bms.clients UNION SELECT name FROM bms.users")]
    assert names
    for page in PAGES:
        text = ask(console, page)[1]
        assert [name for name in [*names, str(world.settings.bms_pipeline_home)] if name in text] == []


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}"])
def test_a_page_that_was_rebound_to_this_machine_reads_nothing(console: Console, page: str, host: str) -> None:
    status, text, _ = ask(console, page, Host=host.format(port=console.port))
    assert status == 400
    assert "bms_pipeline_" not in text


@pytest.mark.parametrize("page", PAGES)
def test_another_page_of_the_browser_cannot_ask_for_them(console: Console, page: str) -> None:
    for mode in ("no-cors", "cors", "navigate"):
        headers = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": mode, "Sec_Fetch_Dest": "script"}
        assert ask(console, page, **headers)[0] == 403
    _, _, headers = ask(console, page)
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_sent_to_them(console: Console, page: str, method: str) -> None:
    assert ask(console, page, method)[0] in (400, 403, 405)


@pytest.mark.parametrize(
    "page", ["/healthz/", "/metrics/", "/metrics/runs", "//metrics", "/metrics%2f..%2fruns", "/Metrics"]
)
def test_no_other_address_goes_without_log_in(console: Console, page: str) -> None:
    status, text, _ = ask(console, page)
    assert status in (403, 404)
    assert "Acme" not in text
    assert "bms_pipeline_" not in text


def test_nobody_is_signed_in_by_them(console: Console) -> None:
    for page in PAGES:
        assert "set-cookie" not in ask(console, page)[2]
