"""The before-image of a trial outlives the disk of the process that made it, where the state is in PostgreSQL."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bms_pipeline.core.settings import Settings
from bms_pipeline.core.vocabulary import Verdict
from bms_pipeline.doctor import before_image, examine, one_write
from bms_pipeline.doctor.findings import Examination, Finding
from bms_pipeline.doctor.kept_report import forget_report, keep_report, read_report
from bms_pipeline.state import session
from bms_pipeline_tests.doctor.test_one_write import ASSET, Killed, clock_of, held, killed_at, passportal, tried
from bms_pipeline_tests.lake import why_no_lake
from bms_pipeline_tests.passportal.conftest import Service, empty_service, server  # noqa: F401  # fixtures
from bms_pipeline_tests.postgres import running_server

__all__ = ["passportal"]


@dataclass(frozen=True)
class Pods:
    """Two containers of one tenant: they share PostgreSQL and the lake's folder, and no disk."""

    service: Service
    address: str
    lake: Path

    def settings(self, pod: str, **more: Any) -> dict[str, Any]:
        """What differs in the settings of a container."""
        folder = self.service.folder
        return {
            "bms_pipeline_state": SecretStr(self.address),
            "bms_pipeline_lake": str(self.lake),
            "bms_pipeline_home": folder / pod,
            **more,
        }

    def of(self, pod: str) -> Settings:
        """The settings of a container."""
        return self.service.settings(**self.settings(pod))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a PostgreSQL of its own."""
    if why := why_no_lake():
        pytest.skip(why)
    with running_server() as running:
        yield f"postgresql://dagster@127.0.0.1:{running.port}/dagster"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the lake: its catalog in PostgreSQL knows the place."""
    return tmp_path_factory.mktemp("lake")


@pytest.fixture
def pods(passportal: Service, address: str, lake: Path) -> Pods:
    """The containers; nothing of an earlier test is in their state."""
    found = Pods(passportal, address, lake)
    for place in before_image.open_images(found.of("a")):
        place.files.move(place.name, f"old/{place.name}")
    return found


def killed_in(pods: Pods, pod: str, step: int = 30) -> None:
    """A trial ends in the middle, and the container's disk is gone with it."""
    with killed_at(step, after=True), pytest.raises(Killed):
        tried(pods.service, **pods.settings(pod))
    shutil.rmtree(pods.service.folder / pod, ignore_errors=True)
    pods.service.now += pods.of(pod).passportal_unknown_seconds + 1


def test_a_trial_that_ended_with_its_container_is_put_back_by_the_next_one(pods: Pods) -> None:
    before = held(pods.service)
    killed_in(pods, "a")
    assert held(pods.service) != before
    (place,) = before_image.open_images(pods.of("b"))
    assert pods.address.rpartition("@")[2].partition("/")[0] in str(place), "a person learns where it is"

    (restored,) = one_write.restore_all(pods.of("b"), clock_of(pods.service))

    assert restored.is_identical
    assert held(pods.service) == before
    assert before_image.open_images(pods.of("c")) == []
    assert before_image.read_image(restored.place).row["label"] == "Doctor's own"
    assert not (pods.service.folder / "b" / "before_images").exists()


def test_the_next_trial_puts_it_back_first_wherever_it_runs(pods: Pods) -> None:
    before = held(pods.service)
    killed_in(pods, "a")

    assert tried(pods.service, **pods.settings("b")).restored.is_identical

    assert held(pods.service) == before
    assert before_image.open_images(pods.of("a")) == []


def test_doctor_names_the_document_that_another_container_left_changed(pods: Pods) -> None:
    killed_in(pods, "a")

    (finding,) = examine._left_changed(pods.of("b"))

    assert (finding.code, finding.verdict) == ("PP-TRIAL", Verdict.DECIDE)
    assert str(ASSET) in finding.text
    one_write.restore_all(pods.of("b"), clock_of(pods.service))


def test_an_image_that_was_left_in_the_home_folder_is_found_after_the_state_moved(pods: Pods) -> None:
    before = held(pods.service)
    with killed_at(30, after=True), pytest.raises(Killed):
        tried(pods.service)
    pods.service.now += pods.of("a").passportal_unknown_seconds + 1
    moved = pods.service.settings(**pods.settings("a", bms_pipeline_home=pods.service.settings().bms_pipeline_home))

    (restored,) = one_write.restore_all(moved, clock_of(pods.service))

    assert restored.is_identical
    assert held(pods.service) == before
    assert before_image.open_images(moved) == []


def test_after_the_state_moved_the_next_trial_of_that_document_keeps_its_image_in_postgresql(pods: Pods) -> None:
    before = held(pods.service)
    with killed_at(30, after=True), pytest.raises(Killed):
        tried(pods.service)
    pods.service.now += pods.of("a").passportal_unknown_seconds + 1
    home = pods.service.settings().bms_pipeline_home

    report = tried(pods.service, **pods.settings("a", bms_pipeline_home=home))

    assert report.restored.is_identical
    assert str(home) not in str(report.restored.place)
    assert held(pods.service) == before


def test_the_last_report_is_read_in_another_container(pods: Pods) -> None:
    report = Examination([Finding("BMS-CLAMP", Verdict.READY, "pages have 100 records", value="100")], {"BMS": 1}, 0.5)
    keep_report(pods.of("a"), report)

    kept = read_report(pods.of("b"))

    assert kept is not None
    assert kept.findings == report.findings
    forget_report(pods.of("a"))
    assert read_report(pods.of("b")) is None


def test_a_state_that_does_not_answer_leaves_it_unknown_and_does_not_end_the_report(
    pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(session, "FIRST_SECONDS", 0.1)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"postgresql://dagster@127.0.0.1:{closed.getsockname()[1]}/dagster"
        settings = pods.service.settings(**pods.settings("a", bms_pipeline_state=SecretStr(address)))

        (finding,) = examine._left_changed(settings)

    assert (finding.code, finding.verdict) == ("PP-TRIAL", Verdict.UNKNOWN)
    assert finding.next_step
