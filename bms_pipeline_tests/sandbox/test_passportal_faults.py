"""What goes wrong on the way to the stand-in for Passportal, over a socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from bms_pipeline_tests.sandbox.passportal_calling import DOCUMENTS, KEY, TOKEN, signed
from bms_sandbox.process import SandboxFailed, SandboxPassportal, running_passportal

HONEST = {"faults": [], "failing_share": 0, "lose_answers": 0, "lose_calls": 0, "lost_shows": "nothing"}


@pytest.fixture(scope="module")
def running(tenant_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxPassportal]:
    with running_passportal(tmp_path_factory.mktemp("passportal"), tenant_folder) as passportal:
        yield passportal


@pytest.fixture
def passportal(running: SandboxPassportal) -> Iterator[SandboxPassportal]:
    running.reset_calls()
    yield running
    running.behave(**HONEST)


@contextmanager
def signed_in(passportal: SandboxPassportal) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        headers = {"x-key": KEY, "x-hash": signed("text")}
        body = {"scope": "docs_api", "content": "text"}
        answer = session.post(passportal.url + TOKEN, json=body, headers=headers, timeout=60)
        session.headers["x-access-token"] = answer.json()["access_token"]
        yield session


def create(passportal: SandboxPassportal, session: requests.Session, title: str) -> str:
    """What became of creating a document, as whoever sent it sees it."""
    document = {"templateUid": "tpl-79", "clientId": 10000001, "title": title}
    try:
        answer = session.post(passportal.url + DOCUMENTS, json=[document], timeout=60)
    except requests.RequestException:
        return "no answer"
    return str(answer.status_code)


def created(passportal: SandboxPassportal, prefix: str) -> list[str]:
    return [each["title"] for each in passportal.records() if each["title"].startswith(prefix)]


@pytest.mark.parametrize(("shows", "seen"), [("nothing", "no answer"), ("502", "502")])
def test_a_write_whose_answer_is_lost_took_effect(passportal: SandboxPassportal, shows: str, seen: str) -> None:
    passportal.behave(lose_answers=[2, 3], lost_shows=shows)
    with signed_in(passportal) as session:
        outcomes = [create(passportal, session, f"answer {shows} {number}") for number in (1, 2, 3, 4)]
    assert outcomes == ["200", seen, seen, "200"]
    assert created(passportal, f"answer {shows}") == [f"answer {shows} {number}" for number in (1, 2, 3, 4)]


@pytest.mark.parametrize(("shows", "seen"), [("nothing", "no answer"), ("502", "502")])
def test_a_write_that_is_lost_before_has_no_effect(passportal: SandboxPassportal, shows: str, seen: str) -> None:
    passportal.behave(lose_calls=[1], lost_shows=shows)
    with signed_in(passportal) as session:
        outcomes = [create(passportal, session, f"call {shows} {number}") for number in (1, 2)]
    assert outcomes == [seen, "200"]
    assert created(passportal, f"call {shows}") == [f"call {shows} 2"]


def test_a_share_of_writes_is_lost_and_reads_never_are(passportal: SandboxPassportal) -> None:
    passportal.behave(lose_answers=0.3, lose_calls=0.3)
    with signed_in(passportal) as session:
        outcomes = [create(passportal, session, f"share {number}") for number in range(60)]
        reads = [session.get(passportal.url + DOCUMENTS, timeout=60).status_code for _ in range(20)]
    known = outcomes.count("200")
    assert 10 < known < 50
    assert known < len(created(passportal, "share")) < 60
    assert set(reads) == {200}


def test_updates_are_lost_too(passportal: SandboxPassportal) -> None:
    body = {"clientId": 10000001, "title": "lost update"}
    passportal.behave(lose_answers=[1])
    with signed_in(passportal) as session:
        create(passportal, session, "to be updated")
        (document_id,) = (each["id"] for each in passportal.records() if each["title"] == "to be updated")
        passportal.behave(lose_answers=[1])
        with pytest.raises(requests.ConnectionError):
            session.put(f"{passportal.url}{DOCUMENTS}/{document_id}", json=body, timeout=60)
    assert created(passportal, "lost update") == ["lost update"]


def faulty(passportal: SandboxPassportal, kind: str, **fault: Any) -> None:
    passportal.behave(faults=[{"route": "POST /api/v2/documents", "kind": kind, "times": 1, **fault}])


def test_a_call_that_fails_by_its_status_has_no_effect_and_any_other_has(passportal: SandboxPassportal) -> None:
    seen = {"status": "429", "html": "200", "cut": "no answer", "truncated": "200", "empty_body": "200"}
    with signed_in(passportal) as session:
        for kind, outcome in seen.items():
            faulty(passportal, kind, status=429)
            assert create(passportal, session, f"fault {kind}") == outcome
            assert create(passportal, session, f"after {kind}") == "200"
    assert created(passportal, "fault") == [f"fault {each}" for each in seen if each != "status"]
    assert len(created(passportal, "after")) == len(seen)


def test_a_share_of_all_calls_fails(passportal: SandboxPassportal) -> None:
    with signed_in(passportal) as session:
        passportal.behave(failing_share=0.5)
        statuses = set()
        for _ in range(30):
            try:
                answer = session.get(passportal.url + DOCUMENTS, timeout=60)
                statuses.add(answer.headers["content-type"] if answer.ok else str(answer.status_code))
            except requests.RequestException:
                statuses.add("cut")
    assert statuses >= {"application/json", "cut"}
    assert statuses & {"500", "502", "503"}


def test_answers_can_take_their_time(passportal: SandboxPassportal) -> None:
    with signed_in(passportal) as session:
        passportal.behave(latency_seconds=0.3)
        with pytest.raises(requests.ReadTimeout):
            session.get(passportal.url + DOCUMENTS, timeout=(60, 0.1))
        passportal.behave(latency_seconds=0)
        assert session.get(passportal.url + DOCUMENTS, timeout=60).ok


@pytest.mark.parametrize(
    ("switch", "said"),
    [({"colour": 1}, "unknown switches: colour"), ({"body": "xml"}, "Invalid enum value 'xml'")],
)
def test_a_switch_that_does_not_exist_or_fit_is_refused(
    passportal: SandboxPassportal, switch: dict[str, Any], said: str
) -> None:
    with pytest.raises(SandboxFailed, match=said):
        passportal.behave(**switch)


def test_a_fault_that_spoils_lists_of_bms_is_refused(passportal: SandboxPassportal) -> None:
    with pytest.raises(SandboxFailed, match="shift"):
        passportal.behave(faults=[{"route": "documents", "kind": "shift"}])


def test_calls_are_counted_by_route_template(passportal: SandboxPassportal) -> None:
    with signed_in(passportal) as session:
        for document_id in (50000001, 50000002):
            session.get(f"{passportal.url}{DOCUMENTS}/{document_id}", timeout=60)
    assert passportal.calls() == {"POST /api/v2/auth/client_token": 1, "GET /api/v2/documents/{id}": 2}
