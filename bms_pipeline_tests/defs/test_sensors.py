"""The sensors as the daemon evaluates them: a published file, a Dagster instance, a webhook that really listens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import msgspec
import pytest
import time_machine
import yaml
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from bms_pipeline.bms.budget import Budget
from bms_pipeline.core.errors import BreakerOpen, ServiceUnreachable, SettingsError
from bms_pipeline.core.settings import Settings
from bms_pipeline.defs import links, schedules, sensors
from bms_pipeline.defs.failures import told_to_the_operator
from bms_pipeline.state.call_file import CallFile
from bms_pipeline.sync.enrichment import DETAILED
from bms_pipeline.sync.state_file import PublishedPlan
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
    ((_, call),) = DETAILED
    budget = Budget(CallFile(home / "budget.sqlite"), 60)
    for _ in range(55):
        budget.take(call.endpoint)
    budget.close()
    result, _ = evaluated(sensors.asset_details, instance)
    assert "5 of 60 calls are left" in result.skip_message


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch, httpserver: HTTPServer) -> list[str]:
    """What a webhook that the settings name was sent."""
    texts: list[str] = []

    def hear(request: Request) -> Response:
        texts.append(request.get_json()["text"])
        return Response("ok")

    httpserver.expect_request("/hook").respond_with_handler(hear)
    monkeypatch.setenv("NOTICE_WEBHOOK_URL", httpserver.url_for("/hook"))
    return texts


def test_what_waits_is_told_once_by_webhook(home: Path, instance: dg.DagsterInstance, heard: list[str]) -> None:
    publish(home, FINISHED)
    result, cursor = evaluated(sensors.decisions_waiting, instance)
    assert result.skip_message.startswith("Told by webhook")
    result, cursor = evaluated(sensors.decisions_waiting, instance, cursor)
    assert result.skip_message == "Nothing waits that people do not know of."
    assert len(heard) == 1
    assert "2 clients wait for a decision." in heard[0]


@pytest.mark.parametrize("url", ["", "https://sync.example.com/", "http://127.0.0.1:3000"])
def test_a_notice_about_a_plan_links_to_its_filled_in_launchpad(
    home: Path, instance: dg.DagsterInstance, heard: list[str], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DAGSTER_URL", url)
    publish(home, published(plan=PublishedPlan("abcdef0123456789", 12)))
    evaluated(sensors.decisions_waiting, instance)
    ((*_, link),) = (text.splitlines() for text in heard)
    assert link == f"{url.rstrip('/')}{links.finish_launchpad('abcdef0123456789')}"
    config = yaml.safe_load(parse_qs(urlsplit(link).query)["config"][0])
    assert config == {"resources": {"approval": {"config": {"plan_hash": "abcdef012345"}}}}


def failed_run(instance: dg.DagsterInstance, errors: Sequence[Exception], plan_hash: str | None = None) -> Any:
    """The context of the sensor for a run in which a step failed with each of these errors."""

    def failing(number: int, error: Exception) -> dg.OpDefinition:
        @dg.op(name=f"step_{number}")
        def step() -> None:
            with told_to_the_operator(lambda: plan_hash):
                raise error

        return step

    @dg.op
    def working() -> None:
        pass

    @dg.job(name="hourly", executor_def=dg.in_process_executor)
    def hourly() -> None:
        for number, error in enumerate(errors):
            failing(number, error)()
        working()

    result = hourly.execute_in_process(instance=instance, raise_on_error=False)
    if result.success:
        return None
    (event,) = (event for event in result.all_events if event.event_type_value == "PIPELINE_FAILURE")
    return dg.build_run_status_sensor_context("run_failed", event, instance, result.dagster_run).for_run_failure()


def test_a_cause_that_fails_four_steps_is_told_once(
    home: Path, instance: dg.DagsterInstance, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_URL", "https://sync.example.com")
    down = [ServiceUnreachable("BMS does not answer.", "Try again later.") for _ in range(4)]
    context = failed_run(instance, [*down, SettingsError("BMS_URL is not set.", "Set it.")])
    sensors.run_failed(context)
    assert heard == [
        "hourly failed\nBMS does not answer.\n→ Try again later.\nBMS_URL is not set.\n→ Set it.\n"
        f"The run in Dagster: https://sync.example.com/runs/{context.dagster_run.run_id}"
    ]


def test_a_failure_that_goes_on_is_told_once_a_day_and_another_one_at_once(
    home: Path, instance: dg.DagsterInstance, heard: list[str]
) -> None:
    down, unset = (
        ServiceUnreachable("BMS does not answer.", "Try again."),
        SettingsError("BMS_URL is not set.", "Set it."),
    )
    with time_machine.travel(datetime(2026, 3, 1, tzinfo=UTC), tick=True) as clock:
        for errors, told in (([down], 1), ([down], 1), ([down, down], 1), ([unset], 2), ([down], 3), ([down], 3)):
            clock.shift(3600)
            sensors.run_failed(failed_run(instance, errors))
            assert len(heard) == told
        failed_run(instance, [])  # it works again, as a retry with the tags of the run before
        (last,) = instance.get_runs(limit=1)
        (failed,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=1)
        instance.add_run_tags(last.run_id, {sensors.NOTIFIED_TAG: failed.tags[sensors.NOTIFIED_TAG]})
        clock.shift(60)
        sensors.run_failed(failed_run(instance, [down]))
        assert len(heard) == 4, "after a success the same failure is news"
        clock.shift(24 * 3600 + 1)
        sensors.run_failed(failed_run(instance, [down]))
        assert len(heard) == 5, "what lasts is not forgotten"


def test_a_failure_nobody_was_notified_of_is_news_once_a_channel_is_set(
    home: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, heard: list[str]
) -> None:
    down = ServiceUnreachable("BMS does not answer.", "Try again.")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NOTICE_WEBHOOK_URL")
        sensors.run_failed(failed_run(instance, [down]))
    sensors.run_failed(failed_run(instance, [down]))
    assert len(heard) == 1


def test_a_notice_about_a_breaker_links_to_the_launchpad_that_loads_the_plan(
    home: Path, instance: dg.DagsterInstance, heard: list[str]
) -> None:
    breaker = BreakerOpen("It would update 9 of 10 matched clients.", "Run `bms-pipeline finish`.")
    sensors.run_failed(failed_run(instance, [breaker, breaker], plan_hash="abcdef0123456789"))
    (text,) = heard
    assert text.count(links.finish_launchpad("abcdef0123456789")) == 1


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
