"""The sensors as the daemon evaluates them: a published file, a Dagster instance, a webhook that really listens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from bms_pipeline.bms.budget import Budget
from bms_pipeline.core.settings import Settings
from bms_pipeline.defs import schedules, sensors
from bms_pipeline_tests.defs.test_ticks import FINISHED, NOT_FINISHED, published


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("BMS_PIPELINE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def publish(home: Path, what: Any) -> None:
    (home / "published.json").write_bytes(msgspec.json.encode(what))


def evaluated(sensor: Any, instance: dg.DagsterInstance, cursor: str | None = None) -> tuple[Any, str | None]:
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    return sensor(context), context.cursor


def test_the_partitions_follow_the_published_clients(home: Path, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("clients", ["3", "4"])
    publish(home, FINISHED)
    result, _ = evaluated(sensors.client_partitions, instance)
    asked = {type(each).__name__: list(each.partition_keys) for each in result.dynamic_partitions_requests}
    assert asked == {"AddDynamicPartitionsRequest": ["7"], "DeleteDynamicPartitionsRequest": ["4"]}


@pytest.mark.parametrize("sensor", [sensors.client_partitions, sensors.new_records, sensors.decisions_waiting])
def test_a_failed_read_is_not_an_empty_one(home: Path, instance: dg.DagsterInstance, sensor: Any) -> None:
    instance.add_dynamic_partitions("clients", ["3"])
    (home / "published.json").write_bytes(b"{")
    with pytest.raises(dg.Failure, match="cannot be read"):
        evaluated(sensor, instance)


def test_an_unreachable_bms_fails_the_tick(
    home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(home, FINISHED)
    for name, value in {"URL": "http://127.0.0.1:9", "TENANT": "T", "USERNAME": "U", "PASSWORD": "P"}.items():
        monkeypatch.setenv(f"BMS_{name}", value)
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(Exception, match=r"127\.0\.0\.1"):
        evaluated(sensors.new_records, instance)


def test_details_are_asked_for_while_calls_are_left(
    home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BMS_CALLS_PER_HOUR", "60")
    publish(home, published(details_waiting=5000))
    result, _ = evaluated(sensors.asset_details, instance)
    assert result.tags["bms_pipeline/why"] == "5,000 details wait, 60 calls are left"
    ((_, call),) = sensors.DETAILED
    budget = Budget(home / "budget.sqlite", 60)
    for _ in range(55):
        budget.take(call.endpoint)
    budget.close()
    result, _ = evaluated(sensors.asset_details, instance)
    assert "5 of 60 calls are left" in result.skip_message


def test_what_waits_is_told_once_by_webhook(
    home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, httpserver: HTTPServer
) -> None:
    heard: list[str] = []

    def hear(request: Request) -> Response:
        heard.append(request.get_json()["text"])
        return Response("ok")

    httpserver.expect_request("/hook").respond_with_handler(hear)
    monkeypatch.setenv("NOTICE_WEBHOOK_URL", httpserver.url_for("/hook"))
    publish(home, FINISHED)
    result, cursor = evaluated(sensors.decisions_waiting, instance)
    assert result.skip_message.startswith("Told by webhook")
    result, cursor = evaluated(sensors.decisions_waiting, instance, cursor)
    assert result.skip_message == "Nothing waits that people do not know of."
    assert len(heard) == 1
    assert "2 clients wait for a decision." in heard[0]


def test_the_schedules_wait_for_the_first_finish(home: Path, tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        for what, launches in ((None, False), (NOT_FINISHED, False), (FINISHED, True)):
            if what is not None:
                publish(home, what)
            for schedule, full in zip(schedules.SCHEDULES, (False, True), strict=True):
                result: Any = schedule(dg.build_schedule_context(instance=instance))
                if not launches:
                    assert isinstance(result, dg.SkipReason)
                    continue
                scope = result.run_config["resources"]["scope"]["config"]
                assert (scope["full_sweep"], scope["only_what_is_new"]) == (full, True)
                assert result.tags["bms_pipeline/why"] == f"schedule {schedule.name}"
