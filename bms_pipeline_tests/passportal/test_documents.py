"""The Documents API as a target: what it creates, finds, changes and remembers, whatever the service's forms are."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import SecretStr

from bms_pipeline.core.entities import ASSETS, CLIENTS, CONTACTS, ENTITIES, LOCATIONS, USERS, Entity
from bms_pipeline.core.errors import (
    AnswerUnreadable,
    LoginRefused,
    PipelineError,
    ServiceError,
    SettingsError,
    WarehouseDamaged,
)
from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.passportal.documents.client import Read
from bms_pipeline.passportal.documents.memory import RememberedDocuments
from bms_pipeline.passportal.documents.target import DocumentsPassportal
from bms_pipeline.passportal.target import Write, Written
from bms_pipeline.warehouse.connection import connect
from bms_pipeline_tests.passportal.conftest import ACME, BETA, Service, kept_open
from bms_pipeline_tests.passportal.test_embedded import HOSTILE
from bms_pipeline_tests.running import quick_and_soak
from bms_sandbox.documents_api.store import Link

POST, PUT, GET, LIST = (
    "POST /api/v2/documents",
    "PUT /api/v2/documents/{id}",
    "GET /api/v2/documents/{id}",
    "GET /api/v2/documents",
)
WRITING = {
    "details_form": ("keys", "positions"),
    "bare_values": (False, True),
    "body": ("array", "object"),
    "values": ("text", "element"),
    "update": ("one", "batch"),
    "marker": ("notes", "id_fields", "custom_id"),
}
READING = {
    "one_document": ("results", "flat"),
    "success_text": (False, True),
    "end_of_pages": ("empty", "null", "text"),
    "expiry_text": (False, True),
    "encoded_names": (True, False),
    "encoded_titles": (False, True),
    "template_ids": ("number", "uid"),
    "template_uids": ("prefixed", "bare", "either"),
    "sign_in": ("json", "form", "either"),
    "blanks": ("shown", "left out"),
    "refused_with_200": (False, True),
    "list_path": ("both", "all", "documents"),
    "batch_refusal": ("whole", "partial"),
    "page_cap": (1000, 1),
    "listed_after": (0, 3),
}


def combinations() -> list[dict[str, Any]]:
    """Every combination of what decides how documents are written; with each, some choice of the others."""
    chance = random.Random(1)
    found = [
        {**dict(zip(WRITING, chosen, strict=True)), **{name: chance.choice(each) for name, each in READING.items()}}
        for chosen in itertools.product(*WRITING.values())
    ]
    # The number of an element that no document shows is known to nobody.
    unknowable = {"details_form": "positions", "values": "element", "blanks": "left out"}
    return [each | ({"blanks": "shown"} if unknowable.items() <= each.items() else {}) for each in found]


def snapshot(target: DocumentsPassportal, folder: Path, entity: Entity) -> dict[str, dict[str, Any]]:
    """All records of ``entity`` as a snapshot shows them, by id."""
    file = folder / "it's a snapshot.parquet"
    target.snapshot(entity, file)
    found = duckdb.read_parquet(str(file))
    return {row[0]: dict(zip(found.columns, row, strict=True)) for row in found.fetchall()}


def refusals(outcomes: Sequence[Written]) -> dict[int, str]:
    """BMS id → why it was refused."""
    return {each.bms_id: each.detail for each in outcomes if each.outcome is Outcome.REFUSED}


def person(bms_id: int, name: str = "Bob Ray", client: int | None = ACME, **values: str) -> Write:
    return Write(bms_id, None if client is None else str(client), values={"name": name, **values})


def persons(*bms_ids: int) -> list[Write]:
    return [person(each, f"Person {each}", email=f"p{each}@a.example") for each in bms_ids]


def change(bms_id: int, passportal_id: str, **after: tuple[str | None, str | None]) -> Write:
    """A change: column=(before, after)."""
    values = {column: new for column, (_, new) in after.items()}
    return Write(bms_id, str(ACME), passportal_id, values, {column: old for column, (old, _) in after.items()})


# All forms


@pytest.mark.parametrize("number", quick_and_soak(range(0, 96, 13), range(96)))
def test_create_find_change_and_snapshot_work_in_every_form(service: Service, tmp_path: Path, number: int) -> None:
    switches = combinations()[number]
    print(switches)
    forms = {f"passportal_{name}": switches[name] for name in ("body", "values", "update", "marker")}
    switches = {name: value for name, value in switches.items() if name != "marker"}
    service.behave(**switches, custom_id_writable=True)
    target = service.target(**forms)
    before = {each.name: snapshot(target, tmp_path, each) for each in ENTITIES}
    assert {name: [each["name"] for each in rows.values()] for name, rows in before.items()} == {
        "clients": ["Acme & Söhne, 100% +", "Beta"], "users": [], "locations": ["HQ"], "contacts": ["Ann Lee"],
        "assets": ["PC-1"],
    }  # fmt: skip
    created = [
        (ASSETS, Write(7, str(ACME), values={"name": "PC-2", "serial_number": "SN-2", "notes": "Old.\nSlow."})),
        (CONTACTS, person(7, email="bob@a.example")),
        (LOCATIONS, Write(7, str(BETA), values={"name": "Depot", "state": "Styria"})),
    ]
    found = {}
    for entity, write in created:
        assert target.create(entity, [write]) == [Written(7, Outcome.DONE)]
        found[entity.name] = target.find(entity, [write])[7]
    ann = [change(8, "102", email=(None, "ann@a.example"), last_name=("Lee", "Ray"), name=("Ann Lee", "Ann Ray"))]
    pcs = [
        change(7, found["assets"], notes=("Old.\nSlow.", "New.")),
        change(9, "101", serial_number=("SN-1", "SN-9"), name=("PC-1", "PC-9")),
    ]
    assert refusals(target.update(CONTACTS, ann)) == {}
    assert refusals(target.update(ASSETS, pcs)) == {}

    held = {each: service.record(each) for each in ("101", "102", found["assets"], found["locations"])}
    assert {id_: (each["title"], each["marker"], each["details"]) for id_, each in held.items()} == {
        "101": ("PC-9", "9", {"Serial Number": "SN-9", "Hostname": "pc-1.local"}),
        "102": ("Ann Ray", "8", {
            "First Name": "Ann", "Last Name": "Ray", "Middle Name": "Q.", "Location": "HQ",
            "Email Address": "ann@a.example", "Notes": "Prefers e-mail.\n\nNever before 10 am.",
        }),
        found["assets"]: ("PC-2", "7", {"Serial Number": "SN-2", "Notes": "New."}),
        found["locations"]: ("Depot", "7", {"State / Province": "Styria"}),
    }  # fmt: skip
    assert service.store.records[102].values["Location"] == Link("HQ", 103, "location"), "a link stays one"

    service.now += 60
    changed = {"assets": ("PC-2", "New.", 7), "contacts": ("Bob Ray", None, 7), "locations": ("Depot", None, 7)}
    forms["bms_pipeline_home"] = tmp_path / "another home"
    with kept_open(service.settings(**forms)):
        for memory in (target, service.target(**forms)):  # what is remembered, and with nothing remembered
            after = {each.name: snapshot(memory, tmp_path, each) for each, _ in created}
            shown = {name: rows[found[name]] for name, rows in after.items()}
            assert {n: (each["name"], each.get("notes"), each["bms_id"]) for n, each in shown.items()} == changed
            assert (shown["locations"]["state"], shown["contacts"]["email"]) == ("Styria", "bob@a.example")
            ann_now = after["contacts"]["102"]
            assert (ann_now["name"], ann_now["email"], ann_now["location"], ann_now["bms_id"]) == (
                "Ann Ray", "ann@a.example", "HQ", 8,
            )  # fmt: skip


def test_a_bad_record_alone_is_refused_with_the_services_own_words(service: Service, tmp_path: Path) -> None:
    for number, kind in enumerate(("whole", "partial")):
        service.behave(batch_refusal=kind)
        first = 10 * (number + 1)
        writes = [*persons(first, first + 1), person(first + 2, "Lost", client=999), *persons(first + 3)]
        target = service.target()
        snapshot(target, tmp_path, CONTACTS)
        outcomes = refusals(target.create(CONTACTS, writes))
        assert list(outcomes) == [first + 2]
        assert "client not found" in outcomes[first + 2]
        found = target.find(CONTACTS, [each for each in writes if each.bms_id not in outcomes])
        assert found.keys() == {first, first + 1, first + 3}
    assert len(service.titles("contact")) == 7, "none is there twice"


# Lost answers


@pytest.mark.parametrize("shows", ["nothing", "502"])
@pytest.mark.parametrize("update", ["one", "batch"])
def test_a_write_whose_answer_is_lost_is_looked_for_and_not_sent_again(
    service: Service, tmp_path: Path, shows: str, update: str
) -> None:
    service.behave(lose_answers=1.0, lost_shows=shows, update=update)
    target = service.target(passportal_update=update)
    snapshot(target, tmp_path, CONTACTS)
    writes = persons(*range(20, 50))
    service.calls()
    assert refusals(target.create(CONTACTS, writes)) == {}
    assert service.calls()[POST] == 2, "the first new document goes out alone"
    found = target.find(CONTACTS, writes)
    changes = [change(n, id_, email=(f"p{n}@a.example", "new@a.example")) for n, id_ in found.items()]
    assert refusals(target.update(CONTACTS, changes)) == {}
    assert service.calls().get(PUT, 30) == 30
    assert len(service.titles("contact")) == 31
    assert {service.record(each)["details"]["Email Address"] for each in found.values()} == {"new@a.example"}


@pytest.mark.parametrize("update", ["one", "batch"])
def test_a_write_that_never_arrived_is_unknown_and_what_waits_for_it_is_not_sent(
    service: Service, tmp_path: Path, update: str
) -> None:
    target = service.target(passportal_update=update)
    snapshot(target, tmp_path, CONTACTS)
    service.behave(lose_calls=1.0, update=update)
    service.calls()
    created = target.create(CONTACTS, persons(20, 21))
    changed = target.update(CONTACTS, [change(8, "102", email=(None, "ann@a.example"))])
    assert [each.outcome for each in created] == [Outcome.UNKNOWN, Outcome.NOT_SENT]
    assert [each.outcome for each in changed] == [Outcome.UNKNOWN]
    assert target.last_write_at() is not None
    calls = service.calls()
    assert (calls[POST], calls.get(PUT, 0) + calls.get("PUT /api/v2/documents", 0)) == (1, 1)
    assert service.titles("contact") == ["Ann Lee"]


def test_of_changes_in_flight_only_the_one_that_is_not_there_is_unknown(service: Service, tmp_path: Path) -> None:
    for number in range(6):
        service.hold(200 + number, "contact", f"P{number}", 5000)
    target = service.target()
    target.update(CONTACTS, [change(1, "102", phone=(None, "1"))])
    service.behave(lose_calls=[3])
    outcomes = target.update(CONTACTS, [change(n, f"{200 + n}", phone=(None, "1")) for n in range(6)])
    assert sorted(each.outcome for each in outcomes) == [*[Outcome.DONE] * 5, Outcome.UNKNOWN]
    written = [service.record(200 + n)["details"].get("Phone") for n in range(6)]
    assert sorted(map(str, written)) == ["1", "1", "1", "1", "1", "None"]


def test_new_documents_that_are_listed_late_are_waited_for_a_while(service: Service, tmp_path: Path) -> None:
    target = service.target()
    snapshot(target, tmp_path, CONTACTS)
    service.behave(listed_after=4)
    target.create(CONTACTS, persons(20))
    assert target.find(CONTACTS, persons(20)).keys() == {20}
    assert service.pauses
    service.pauses.clear()
    service.behave(listed_after=1000)
    target.create(CONTACTS, persons(21))
    assert target.find(CONTACTS, persons(21)) == {}
    assert sum(service.pauses) < 30


# Many writes


def test_many_creates_take_few_calls_and_the_next_snapshot_reads_none_of_them_again(
    service: Service, tmp_path: Path
) -> None:
    service.now += 60
    target = service.target()
    snapshot(target, tmp_path, CONTACTS)
    writes = persons(*range(1000, 1120))
    service.calls()
    assert {each.outcome for each in target.create(CONTACTS, writes)} == {Outcome.DONE}
    assert len(target.find(CONTACTS, writes)) == 120
    calls = service.calls()
    assert calls[POST] == 4, "the first alone, then fifty at once"
    assert sum(calls.values()) <= 1.1 * 120, calls
    assert len(snapshot(target, tmp_path, CONTACTS)) == 121
    assert service.calls().get(GET, 0) <= 0.02 * 120


@pytest.mark.parametrize("update", ["one", "batch"])
def test_many_changes_take_three_calls_each_and_the_next_snapshot_reads_none_of_them_again(
    service: Service, tmp_path: Path, update: str
) -> None:
    service.behave(update=update)
    for number in range(80):
        service.hold(1000 + number, "contact", f"P{number}", 5000)
    service.now += 60
    target = service.target(passportal_update=update)
    snapshot(target, tmp_path, CONTACTS)
    for phone in (None, "1"):  # adopted, then changed
        writes = [change(n, f"{1000 + n}", phone=(phone, f"{phone or ''}1")) for n in range(80)]
        service.calls()
        assert refusals(target.update(CONTACTS, writes)) == {}
        calls = service.calls()
        assert calls[GET] == 160
        assert sum(calls.values()) <= 3.0 * 80, calls
        snapshot(target, tmp_path, CONTACTS)
        assert service.calls().get(GET, 0) <= 0.02 * 80


@pytest.mark.parametrize(("count", "waits"), [(2, False), (12, True)])
def test_a_few_writes_are_not_waited_for_and_read_once_more_by_the_next_snapshot(
    service: Service, tmp_path: Path, count: int, waits: bool
) -> None:
    service.now += 60
    target = service.target()
    snapshot(target, tmp_path, CONTACTS)
    writes = persons(*range(20, 20 + count))
    target.create(CONTACTS, writes)
    found = target.find(CONTACTS, writes)
    changes = [change(n, id_, phone=(None, "1")) for n, id_ in found.items()]
    assert refusals(target.update(CONTACTS, changes)) == {}
    assert bool(service.pauses) is waits
    service.now += 60
    service.calls()
    rows = snapshot(target, tmp_path, CONTACTS)
    assert [rows[id_]["phone"] for id_ in found.values()] == ["1"] * count
    assert service.calls().get(GET, 0) == (0 if waits else count)


def test_a_few_writes_are_read_once_more_behind_the_next_ones(service: Service, tmp_path: Path) -> None:
    for number in range(20):
        service.hold(1000 + number, "contact", f"P{number}", 5000)
    service.now += 60
    target = service.target()
    snapshot(target, tmp_path, CONTACTS)
    target.create(LOCATIONS, [Write(7, str(ACME), values={"name": "Depot"})])
    target.find(LOCATIONS, [Write(7, str(ACME))])
    target.update(ASSETS, [change(7, "101", serial_number=("SN-1", "SN-2"))])
    service.now += 60
    target.update(CONTACTS, [change(n, f"{1000 + n}", phone=(None, "1")) for n in range(20)])
    service.now += 60
    service.calls()
    assert "7" in {str(each["bms_id"]) for each in snapshot(target, tmp_path, LOCATIONS).values()}
    assert snapshot(target, tmp_path, ASSETS)["101"]["serial_number"] == "SN-2"
    assert snapshot(target, tmp_path, CONTACTS)["1000"]["phone"] == "1"
    assert service.calls().get(GET, 0) == 1, "the location that was there before and was never read"


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a single write be waited for as many are."""
    monkeypatch.setattr("bms_pipeline.passportal.documents.pace.FEW", 1)


@pytest.mark.usefixtures("waiting")
def test_done_is_answered_after_the_reading_and_not_before(service: Service) -> None:
    target = service.target()
    seen: dict[str, int] = {}
    service.meanwhile = lambda: seen.update(service.calls())
    assert [each.outcome for each in target.update(CONTACTS, [change(7, "102", phone=(None, "1"))])] == [Outcome.DONE]
    assert (seen[GET], seen[PUT]) == (1, 1), "written, and not yet read again"
    assert service.calls()[GET] == 1


@pytest.mark.usefixtures("waiting")
def test_a_kill_before_the_reading_answers_nothing(service: Service) -> None:
    target = service.target()

    def kill() -> None:
        raise KeyboardInterrupt

    service.meanwhile = kill
    with pytest.raises(KeyboardInterrupt):
        target.update(CONTACTS, [change(7, "102", phone=(None, "1"))])
    assert service.record(102)["details"]["Phone"] == "1"
    assert target.last_write_at() is not None


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize("edit", [{"details": {"Phone": "2"}}, {"title": "Ann Ray"}, {"details": {"Notes": "Hers."}}])
def test_what_a_person_changes_before_the_reading_is_theirs_and_the_write_is_done(
    service: Service, tmp_path: Path, edit: dict[str, Any]
) -> None:
    target = service.target()
    service.meanwhile = lambda: service.edit(102, **edit)
    write = change(7, "102", phone=(None, "1"), name=("Ann Lee", "Ann Fox"))
    assert target.update(CONTACTS, [write]) == [Written(7, Outcome.DONE)]
    held = service.record(102)
    assert held["title"] == edit.get("title", "Ann Fox")
    assert held["details"]["Phone"] == edit.get("details", {}).get("Phone", "1")
    shown = snapshot(target, tmp_path, CONTACTS)["102"]
    assert (shown["name"], shown["phone"]) == (held["title"], held["details"]["Phone"])


@pytest.mark.usefixtures("waiting")
@pytest.mark.parametrize("meanwhile", [None, {"details": {"Fax": "9"}}])
def test_a_value_that_is_not_kept_is_refused_whatever_else_a_person_changes(
    service: Service, meanwhile: dict[str, Any] | None
) -> None:
    target = service.target()
    assert refusals(target.update(CONTACTS, [change(7, "102", job_title=(None, "CTO"))])) == {}
    sent = target._client.update

    def dropping(document_id: str | None, body: dict[str, Any]) -> None:
        del body["details"]["Phone"]
        sent(document_id, body)

    target._client.update = dropping  # type: ignore[method-assign, assignment]
    service.meanwhile = None if meanwhile is None else lambda: service.edit(102, **meanwhile)
    outcomes = target.update(CONTACTS, [change(7, "102", phone=(None, "1"))])
    assert refusals(outcomes) == {7: "Passportal accepted the change and does not show it: Phone"}
    assert [each.of_values for each in outcomes] == [True], "the same would be refused again"


@pytest.mark.usefixtures("waiting")
def test_a_lost_change_that_never_came_is_no_persons_edit(service: Service) -> None:
    target = service.target()
    service.behave(lose_calls=1.0)
    sent = target._client.update

    def edited(document_id: str | None, body: dict[str, Any]) -> None:
        service.now += 5
        service.edit(102, details={"Phone": "2"})
        sent(document_id, body)

    target._client.update = edited  # type: ignore[method-assign, assignment]
    outcomes = target.update(CONTACTS, [change(7, "102", phone=(None, "1"))])
    assert [each.outcome for each in outcomes] == [Outcome.UNKNOWN]


# Outages in the middle of many writes


def offered_until_all_are_done(target: DocumentsPassportal, writes: list[Write]) -> list[int]:
    """Offer what was not sent until nothing is left, as a load does; how many were done in each round."""
    rounds = []
    while writes:
        outcomes = target.update(CONTACTS, writes)
        unsent = {each.bms_id for each in outcomes if each.outcome is Outcome.NOT_SENT}
        assert {each.outcome for each in outcomes} <= {Outcome.DONE, Outcome.NOT_SENT}
        rounds.append(len(writes) - len(unsent))
        writes = [write for write in writes if write.bms_id in unsent]
    return rounds


def test_a_document_that_cannot_be_read_stops_no_other_and_nothing_is_sent_twice(
    service: Service, tmp_path: Path
) -> None:
    for number in range(60):
        service.hold(1000 + number, "contact", f"P{number}", 5000)
    target = service.target()
    writes = [change(n, f"{1000 + n}", phone=(None, "1")) for n in range(60)]
    service.behave(faults=[{"route": GET, "kind": "status", "from_call": 50, "until_call": 53, "status": 500}])
    service.calls()
    rounds = offered_until_all_are_done(target, writes)
    assert service.calls()[PUT] == 60
    assert rounds[0] > 0
    assert all(service.record(1000 + number)["details"]["Phone"] == "1" for number in (0, 30, 59))


def test_an_outage_leaves_done_what_was_seen_and_unknown_only_what_was_sent(service: Service, tmp_path: Path) -> None:
    for number in range(60):
        service.hold(1000 + number, "contact", f"P{number}", 5000)
    target = service.target()
    target.update(CONTACTS, [change(7, "102", phone=(None, "1"))])
    service.behave(faults=[{"route": GET, "kind": "status", "from_call": 70, "status": 500}])
    outcomes = target.update(CONTACTS, [change(n, f"{1000 + n}", phone=(None, "1")) for n in range(60)])
    sent = service.calls()[PUT] - 1
    service.behave(faults=[{"route": GET, "kind": "status", "status": 500}])
    became = {outcome: [each for each in outcomes if each.outcome is outcome] for outcome in Outcome}
    assert len(became[Outcome.DONE]) + len(became[Outcome.UNKNOWN]) == sent
    assert len(became[Outcome.NOT_SENT]) == 60 - sent
    assert all("answered 500" in each.detail for each in became[Outcome.UNKNOWN] + became[Outcome.NOT_SENT])
    with pytest.raises(ServiceError, match="answered 500"):
        target.update(CONTACTS, [change(n, f"{1000 + n}", phone=(None, "1")) for n in range(60)])
    assert PUT not in service.calls()


def test_a_service_that_takes_no_writes_is_not_sent_a_thousand(service: Service, tmp_path: Path) -> None:
    for number in range(200):
        service.hold(1000 + number, "contact", f"P{number}", 5000)
    target = service.target()
    snapshot(target, tmp_path, CONTACTS)
    target.create(CONTACTS, persons(900))
    service.behave(lose_calls=1.0)
    created = target.create(CONTACTS, persons(*range(2000, 3000)))
    lost = sum(each.outcome is Outcome.UNKNOWN for each in created)
    assert 50 <= lost <= 50 * service.settings().passportal_connections
    assert sum(each.outcome is Outcome.NOT_SENT for each in created) == 1000 - lost
    service.behave(lose_calls=0)
    again = [each for each, was in zip(persons(*range(2000, 3000)), created, strict=True)
             if was.outcome is Outcome.NOT_SENT]  # fmt: skip
    assert {each.outcome for each in target.create(CONTACTS, again)} == {Outcome.DONE}
    assert len(service.titles("contact")) == 202 + len(again)


@pytest.mark.parametrize("is_proven", [False, True])
def test_changes_that_no_answer_comes_to_and_that_take_no_effect_end_after_some(
    service: Service, is_proven: bool
) -> None:
    for number in range(400):
        service.hold(1000 + number, "contact", f"P{number}", 5000)
    target = service.target()
    if is_proven:
        target.update(CONTACTS, [change(7, "102", phone=(None, "1"))])
    service.behave(lose_calls=1.0)
    writes = [change(n, f"{1000 + n}", phone=(None, "1")) for n in range(400)]
    service.calls()
    outcomes = target.update(CONTACTS, writes)
    sent = service.calls()[PUT]
    assert sent == 3 if not is_proven else 3 <= sent <= 20
    assert [each.outcome for each in outcomes].count(Outcome.UNKNOWN) == sent
    assert [each.outcome for each in outcomes].count(Outcome.NOT_SENT) == 400 - sent
    service.behave(lose_calls=0)
    again = [write for write, was in zip(writes, outcomes, strict=True) if was.outcome is Outcome.NOT_SENT]
    assert len(offered_until_all_are_done(target, again)) == 1


# Changes


def test_what_changed_meanwhile_is_gone_or_anothers_is_refused_and_the_others_go_on(service: Service) -> None:
    service.hold(201, "contact", "Cat Fox", 5000, values={"Notes": "Kaseya BMS ID: 5"})
    outcomes = service.target().update(
        CONTACTS,
        [
            change(7, "102", job_title=("CEO", "CTO"), name=("Ann Lee", "Ann")),
            change(8, "999", phone=(None, "1")),
            change(9, "201", phone=(None, "1")),
            Write(10, None, None),
            change(5, "201", phone=(" ", "1")),
        ],
    )
    assert refusals(outcomes) == {
        7: "stale: changed meanwhile: Job Title",
        8: "the record is gone from Passportal",
        9: "it bears the marker of BMS id 5",
        10: "the record is gone from Passportal",
    }
    assert service.record(201)["details"] == {"Phone": "1"}
    assert service.record(102)["marker"] is None


def test_an_adoption_sets_the_marker_once(service: Service) -> None:
    target = service.target()
    for calls in ({GET: 2, PUT: 1}, {GET: 1}):
        assert refusals(target.update(CONTACTS, [Write(7, str(ACME), "102")])) == {}
        made = service.calls()
        made.pop("POST /api/v2/auth/client_token", None)
        assert made == calls
    assert service.store.records[102].values["Notes"].endswith("Never before 10 am.\nKaseya BMS ID: 7")  # type: ignore[union-attr]


def test_a_marker_is_taken_off_one_document_before_another_gets_it(service: Service) -> None:
    service.hold(201, "contact", "Ann Lee", 5000, values={"Notes": "Kaseya BMS ID: 7"})
    target = service.target()
    write = Write(7, str(ACME), "102", unmark_id="201")
    assert refusals(target.update(CONTACTS, [write])) == {}
    assert (service.record(201)["marker"], service.record(102)["marker"]) == (None, "7")
    undo = Write(7, str(ACME), "102", unmark_id="102")
    assert refusals(target.update(CONTACTS, [undo])) == {}
    assert service.record(102)["marker"] is None
    assert service.record(102)["details"]["Notes"] == "Prefers e-mail.\n\nNever before 10 am."
    target.create(CONTACTS, [Write(7, str(ACME), None, {"name": "New"}, unmark_id="999")])
    assert target.find(CONTACTS, [Write(7, str(ACME))]).keys() == {7}


def test_a_replaced_marker_gives_way(service: Service) -> None:
    service.hold(201, "contact", "Ann Lee", 5000, values={"Notes": "Kaseya BMS ID: 5"})
    write = Write(7, str(ACME), "201", replaces_marker_of=5)
    assert refusals(service.target().update(CONTACTS, [write])) == {}
    assert service.record(201)["marker"] == "7"


def test_a_service_that_drops_what_it_is_sent_is_stopped_at_the_first_document(service: Service) -> None:
    """A wrong guess about the form of values must not spoil a tenant."""
    for number in range(5):
        service.hold(200 + number, "contact", f"P{number}", 5000, values={"Extension": "12"})
    target = service.target()
    sent = target._client.update

    def dropping(document_id: str | None, body: dict[str, Any]) -> None:
        del body["details"]["Extension"]
        sent(document_id, body)

    target._client.update = dropping  # type: ignore[method-assign, assignment]
    with pytest.raises(ServiceError, match="dropped what was sent back to it: Extension of document 200"):
        target.update(CONTACTS, [change(n, f"{200 + n}", phone=(None, "1")) for n in range(5)])
    assert service.calls()[PUT] == 1


def test_values_that_are_sent_in_the_wrong_form_are_refused_and_spoil_nothing(service: Service) -> None:
    service.behave(values="element")
    outcomes = service.target().update(CONTACTS, [change(7, "102", phone=(None, "1"))])
    assert "(400)" in refusals(outcomes)[7]
    assert service.record(102)["details"]["Middle Name"] == "Q."


# Markers


def test_a_service_that_ignores_custom_ids_gets_one_document_at_most(service: Service, tmp_path: Path) -> None:
    target = service.target(passportal_marker="custom_id")
    snapshot(target, tmp_path, CONTACTS)
    with pytest.raises(SettingsError, match="does not keep the customId") as error:
        target.create(CONTACTS, persons(20, 21, 22))
    assert "PASSPORTAL_MARKER=notes" in error.value.next_step
    assert service.titles("contact") == ["Ann Lee", "Person 20"]
    with pytest.raises(SettingsError, match="does not keep the customId"):
        target.update(CONTACTS, [Write(7, str(ACME), "102")])


@pytest.mark.parametrize("written", ["notes", "id_fields", "custom_id"])
@pytest.mark.parametrize("then", ["notes", "id_fields", "custom_id"])
def test_whichever_marker_the_settings_choose_all_three_are_recognised(
    service: Service, tmp_path: Path, written: str, then: str
) -> None:
    service.behave(custom_id_writable=True)
    target = service.target(passportal_marker=written)
    write = Write(7, str(ACME), values={"name": "PC-2"})
    target.create(ASSETS, [write])
    (found,) = target.find(ASSETS, [write]).values()
    other = service.target(passportal_marker=then, bms_pipeline_home=tmp_path / "another home")
    assert other.find(ASSETS, [write]) == {7: found}
    assert snapshot(other, tmp_path, ASSETS)[found]["bms_id"] == 7
    assert refusals(other.update(ASSETS, [Write(8, str(ACME), found, replaces_marker_of=7)])) == {}
    assert service.record(found)["marker"] == "8", "and one only"


def test_a_marker_is_looked_for_in_its_own_client_and_type_only(service: Service, tmp_path: Path) -> None:
    target = service.target()
    target.create(CONTACTS, [person(7)])
    assert target.find(CONTACTS, [person(7, client=BETA)]) == {}
    assert target.find(ASSETS, [person(7)]) == {}
    assert target.find(CONTACTS, []) == {}


# Templates


def test_the_template_is_the_one_that_passportal_calls_so_or_the_only_one_or_a_question(
    empty_service: Service, tmp_path: Path
) -> None:
    service = empty_service
    service.hold(ACME, "client", "Acme")
    write = Write(7, str(ACME), values={"name": "PC-2"})
    assert "no asset document yet" in refusals(service.target().create(ASSETS, [write]))[7]
    service.hold(201, "asset", "Firewall", 113)
    service.target().create(ASSETS, [write])
    assert service.store.records[60_000_000].template == 113, "the only one"
    service.hold(202, "asset", "PC", 79)
    service.target(bms_pipeline_home=tmp_path / "a").create(ASSETS, [Write(8, str(ACME), values={"name": "P"})])
    assert service.store.records[60_000_001].template == 79, "the one called Generic Asset"
    chosen = service.target(bms_pipeline_home=tmp_path / "b", passportal_templates="contact=1, asset=tpl-113")
    chosen.create(ASSETS, [Write(9, str(ACME), values={"name": "P"})])
    assert service.store.records[60_000_002].template == 113, "the one that the settings choose"


def test_several_templates_of_which_none_is_known_are_listed(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bms_pipeline.passportal.documents.templates.DEFAULT_TEMPLATES", {"asset": "Thing"})
    service.hold(201, "asset", "Firewall", 113)
    refused = refusals(service.target().create(ASSETS, [Write(7, str(ACME), values={"name": "PC-2"})]))
    assert "113 (Network Device, 1 documents); 79 (Generic Asset, 1" in refused[7]


def test_a_field_that_the_template_lacks_is_told_and_nothing_is_created(service: Service, tmp_path: Path) -> None:
    """F3: it was an error that stopped the whole load; now it is of the one record, and a plan knows it before."""
    service.behave(missing_labels={"Contact": ["Mobile Phone"]})
    target = service.target()
    outcomes = refusals(target.create(CONTACTS, [person(7, mobile_phone="1"), person(8, phone="2")]))
    assert outcomes == {7: "no place: template Contact has no field of plain text called Mobile Phone"}
    assert service.titles("contact") == ["Ann Lee", "Bob Ray"]
    service.behave(missing_labels={"Contact": ["Notes"]})
    other = service.target(bms_pipeline_home=tmp_path / "another home")
    assert "called Notes" in refusals(other.create(CONTACTS, [person(9)]))[9], "it could not be found again"


def test_a_document_without_the_field_is_refused_by_its_name_and_never_silently_done(
    service: Service, tmp_path: Path
) -> None:
    """F1: the field was dropped, and the journal said done."""
    service.behave(missing_labels={"Network Device": ["Model"]})
    service.hold(201, "asset", "Firewall", 113, values={"Firmware": "7"})
    target = service.target(passportal_marker="id_fields")
    assert snapshot(target, tmp_path, ASSETS)["201"]["name"] == "Firewall"
    write = change(7, "201", model=(None, "X1"), serial_number=(None, "SN"))
    assert "called Model" in refusals(target.update(ASSETS, [write]))[7]
    assert service.record(201)["details"] == {"Firmware": "7"}
    assert refusals(target.update(ASSETS, [change(7, "201", serial_number=(None, "SN"))])) == {}
    assert service.record(201)["details"] == {"Firmware": "7", "Serial Number": "SN"}
    assert service.record(201)["marker"] == "7"


@pytest.mark.parametrize("wrong", ["asset", "asset=", "printer=1", "asset=Generic", "asset=1;contact=2"])
def test_a_template_setting_that_names_none_is_told(service: Service, wrong: str) -> None:
    with pytest.raises(SettingsError, match="PASSPORTAL_TEMPLATES"):
        service.target(passportal_templates=wrong)


# Snapshots with few calls


def test_details_are_read_once_and_again_only_where_something_changed(service: Service, tmp_path: Path) -> None:
    for number in range(20):
        service.hold(200 + number, "contact", f"P{number}", 5000)
    service.now += 60
    target = service.target()
    snapshot(target, tmp_path, CONTACTS)
    assert service.calls()[GET] == 21
    snapshot(target, tmp_path, CONTACTS)
    assert GET not in service.calls()
    service.edit(205, details={"Phone": "1"})
    service.now += 60
    assert snapshot(service.target(), tmp_path, CONTACTS)["205"]["phone"] == "1"
    assert service.calls()[GET] == 1


def test_what_was_changed_in_the_second_in_which_it_was_read_is_read_again(service: Service, tmp_path: Path) -> None:
    target = service.target()
    snapshot(target, tmp_path, CONTACTS)
    service.edit(102, details={"Phone": "2"})  # in the same second as before: the stamp stays
    assert snapshot(target, tmp_path, CONTACTS)["102"]["phone"] == "2"
    service.now += 60
    snapshot(target, tmp_path, CONTACTS)
    service.calls()
    snapshot(target, tmp_path, CONTACTS)
    assert GET not in service.calls(), "it is settled"


def test_an_interrupted_reading_goes_on_where_it_stopped(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bms_pipeline.passportal.documents.pace.READ_AT_ONCE", 10)
    for number in range(40):
        service.hold(200 + number, "contact", f"P{number}", 5000)
    service.now += 60
    service.behave(faults=[{"route": GET, "kind": "status", "from_call": 26, "status": 500}])
    with pytest.raises(ServiceError):
        snapshot(service.target(), tmp_path, CONTACTS)
    service.behave(faults=[])
    service.calls()
    assert len(snapshot(service.target(), tmp_path, CONTACTS)) == 41
    assert service.calls()[GET] == 21


def test_a_document_that_no_list_shows_is_asked_for_before_it_counts_as_gone(service: Service, tmp_path: Path) -> None:
    service.hold(201, "contact", "Bob Ray", 5000)
    service.hold(202, "contact", "Cat Fox", 5000)
    target = service.target()
    snapshot(target, tmp_path, CONTACTS)
    unseen = target._client.pages
    target._client.pages = lambda *args, **how: (  # type: ignore[method-assign]
        [row for row in page if row["id"] not in (201, 202)] for page in unseen(*args, **how)
    )
    service.edit(202, disabled=True)
    service.calls()
    assert snapshot(target, tmp_path, CONTACTS).keys() == {"102", "201"}
    assert service.record(201)["title"] == "Bob Ray"


def test_one_unreadable_answer_is_no_empty_passportal(service: Service, tmp_path: Path) -> None:
    target = service.target()
    snapshot(target, tmp_path, CONTACTS)
    service.behave(faults=[{"route": LIST, "kind": "html"}])
    with pytest.raises(AnswerUnreadable):
        snapshot(target, tmp_path, CONTACTS)
    service.behave(faults=[])
    assert snapshot(target, tmp_path, CONTACTS).keys() == {"102"}


@pytest.mark.parametrize("place", [12_288, 16_384, -4_096], ids=["first block", "second block", "last block"])
def test_a_damaged_memory_is_deleted_and_filled_again(service: Service, tmp_path: Path, place: int) -> None:
    target = service.target()
    before = snapshot(target, tmp_path, CONTACTS)
    file = service.settings().documents_file
    content = bytearray(file.read_bytes())
    place %= len(content)
    content[place : place + 64] = b"\xff" * 64
    file.write_bytes(content)
    with suppress(WarehouseDamaged):  # where opening it does not show the damage, the next run has a new one
        snapshot(service.target(), tmp_path, CONTACTS)
    assert snapshot(service.target(), tmp_path, CONTACTS) == before
    assert not list(file.parent.glob("*.aside"))


def test_the_memory_holds_no_more_of_a_document_than_is_synced(service: Service, tmp_path: Path) -> None:
    service.edit(102, details={"Middle Name": "canary-unmapped", "Phone": "canary-mapped"})
    target = service.target()
    snapshot(target, tmp_path, CONTACTS)
    with closing(connect(service.settings().documents_file)) as memory:
        kept = str([memory.execute(f"FROM {each}").fetchall() for each in ("listed", "details", "template_fields")])
    assert "canary-mapped" in kept
    assert "canary-unmapped" not in kept


# What the API cannot write


def test_clients_and_users_are_never_written(service: Service) -> None:
    target = service.target()
    assert target.can_write == {"locations", "contacts", "assets"}
    for entity in (CLIENTS, USERS):
        with pytest.raises(AssertionError):
            target.create(entity, [Write(7, None, values={"name": "New"})])
        with pytest.raises(AssertionError):
            target.update(entity, [Write(7, None, "11", {"name": "New"}, {"name": "Old"})])
    assert service.calls() == {}


def test_users_are_those_of_the_exported_file(service: Service, tmp_path: Path) -> None:
    assert "users" not in service.target().can_list
    file = tmp_path / "users.csv"
    file.write_bytes(
        b"\xef\xbb\xbfEmail,Passportal ID,Last Name,First Name,Phone\r\nann@a.example,5,Lee,Ann,1\r\n\r\n,6,Ray,,\r\n"
    )
    target = service.target(passportal_users_file=file)
    assert target.can_list == {each.name for each in ENTITIES}
    found = snapshot(target, tmp_path, USERS)
    assert {id_: (each["name"], each["email"], each["last_name"]) for id_, each in found.items()} == {
        "5": ("Ann Lee", "ann@a.example", "Lee"),
        "6": ("Ray", None, "Ray"),
    }


HEADER = b"Passportal ID,Last Name,First Name,Email,Phone\n"


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (None, "cannot be read: no such file"),
        (b"", "no column 'Passportal ID'"),
        (b"Last Name,First Name,Email\n", "no column 'Passportal ID' in its first line"),
        (HEADER + b"5,Lee\n", "2 cells in row 2 instead of 5"),
        (HEADER + b"5,Lee,Ann,,\n,Ray,Bob,,\n", "no Passportal ID in row 3"),
        (HEADER + b"5,Lee,Ann,,\n5,Ray,Bob,,\n", "a user twice in row 3"),
        (HEADER + b"5,L\xe9,Ann,,\n", "is not UTF-8 text"),
        (HEADER + b'5,"Lee,Ann,,\n', "is no CSV file"),
    ],
)
def test_a_users_file_that_cannot_be_read_says_what_is_wrong_where(
    service: Service, tmp_path: Path, content: bytes | None, wrong: str
) -> None:
    file = tmp_path / "users.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=rf"PASSPORTAL_USERS_FILE \(.*users\.csv\) .*{wrong}"):
        snapshot(service.target(passportal_users_file=file), tmp_path, USERS)


# Refusals that are everybody's


def test_a_refused_key_in_the_middle_of_a_load_refuses_no_record_and_none_counts_as_sent(
    service: Service, tmp_path: Path
) -> None:
    target, sent = service.target(), list[int]()
    snapshot(target, tmp_path, CONTACTS)
    assert target.create(CONTACTS, persons(1), sent.extend)[0].outcome is Outcome.DONE
    assert sent
    sent.clear()
    service.now += 10_000
    target._client._settings = service.settings(passportal_secret=SecretStr("canary-s3cret"))
    for send, writes in (
        (target.create, persons(20)),
        (target.update, [change(7, "102", phone=(None, "1"))]),
    ):
        with pytest.raises(LoginRefused) as error:
            send(CONTACTS, writes, sent.extend)
        assert "canary" not in f"{error.value} {error.value!r}"
    assert not sent


def test_settings_without_an_address_are_told_before_anything(tmp_path: Path, service: Service) -> None:
    with pytest.raises(PipelineError, match="PASSPORTAL_URL is not set"):
        service.target(passportal_url="")


# Records as the embedded Passportal takes them


def test_a_record_needs_a_title_and_a_client(service: Service) -> None:
    writes = [Write(7, str(ACME)), person(8, ""), person(9, client=None), person(10)]
    target = service.target()
    assert refusals(target.create(CONTACTS, writes)) == {
        7: "a record needs a title",
        8: "a record needs a title",
        9: "Passportal has no client None",
    }
    assert target.find(CONTACTS, writes[3:]).keys() == {10}


@pytest.mark.parametrize("values", ["text", "element"])
def test_any_text_comes_back_as_it_went_in(service: Service, tmp_path: Path, values: str) -> None:
    service.behave(values=values)
    target = service.target(passportal_values=values)
    snapshot(target, tmp_path, CONTACTS)
    texts = [text for text in HOSTILE.values() if text.strip()]
    created = [person(number, text, email=text) for number, text in enumerate(texts)]
    assert refusals(target.create(CONTACTS, created)) == {}
    found = target.find(CONTACTS, created)
    changes = [change(n, found[n], phone=(None, text), email=(text, text)) for n, text in enumerate(texts)]
    assert refusals(target.update(CONTACTS, changes)) == {}
    stored = snapshot(target, tmp_path, CONTACTS)
    for number, (case, text) in enumerate((case, text) for case, text in HOSTILE.items() if text.strip()):
        row = stored[found[number]]
        assert (row["name"], row["email"], row["phone"], row["bms_id"]) == (text, text, text, number), case


def test_half_a_surrogate_pair_spoils_no_snapshot(service: Service, tmp_path: Path) -> None:
    service.edit(102, details={"Phone": "1"})
    target = service.target()
    asked = target._client.document

    def surrogate(document_id: str) -> Read | None:
        read = asked(document_id)
        if read is not None:
            read.document["details"]["phone"]["value"]["text"] = "\ud800"
        return read

    target._client.document = surrogate  # type: ignore[method-assign]
    assert snapshot(target, tmp_path, CONTACTS)["102"]["phone"] == "?"


def test_a_document_that_the_key_may_not_read_any_more_has_no_places(service: Service, tmp_path: Path) -> None:
    target = service.target()
    assert "serial_number" in snapshot(target, tmp_path, ASSETS)["101"]["places"]
    memory = RememberedDocuments(service.settings().documents_file)
    with connect(service.settings().documents_file) as connection:
        connection.execute("UPDATE listed SET readable = false WHERE id = '101'")
    with memory.opened():
        memory.write_snapshot(ASSETS, tmp_path / "locked.parquet", {})
    with duckdb.connect() as connection:
        query = "SELECT places, name FROM read_parquet(?) WHERE passportal_id = '101'"
        assert connection.execute(query, [str(tmp_path / "locked.parquet")]).fetchone() == ([], "PC-1")
