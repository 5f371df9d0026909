"""Documents as tenants have them: templates with other labels, types and contents, from the snapshot to the load."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline.core.entities import ASSETS, CLIENTS, CONTACTS, LOCATIONS
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.reasons import Reason
from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.passportal.documents.encoding import Document, Element
from bms_pipeline.passportal.documents.required import needed_by
from bms_pipeline.passportal.documents.target import DocumentsPassportal
from bms_pipeline.passportal.target import Write
from bms_pipeline.plan.standings import NextStep
from bms_pipeline.reports import figures, plan_preview
from bms_pipeline.sync import deciding, loading
from bms_pipeline.warehouse.connection import connect
from bms_pipeline_tests.building import World, account, asset, contact, location, opened_world
from bms_pipeline_tests.passportal.conftest import ACME, Service
from bms_pipeline_tests.passportal.test_documents import GET, POST, PUT, change, person, persons, refusals, snapshot
from bms_pipeline_tests.running import quick_and_soak
from bms_sandbox.documents_api.store import Link

NOW_AND_THEN = 90_000
"""Seconds after which each template is looked at again."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A home folder whose BMS has one account, that of the service's client Acme."""
    with opened_world(tmp_path / "warehouse") as made:
        made.entities = (CLIENTS, LOCATIONS, CONTACTS, ASSETS)
        made.accounts = [account(1, "Acme & Söhne, 100% +")]
        yield made


def no_place(world: World) -> list[tuple[Any, ...]]:
    return [astuple(row)[:4] for row in plan_preview.overview(world.warehouse).no_place]


def in_sync(world: World, target: DocumentsPassportal) -> None:
    """Once everything is loaded, the next plan holds nothing."""
    assert world.plan(target=target).operations == 0


# F1, F3: a value without a place


def test_a_value_without_a_place_is_said_before_the_load_and_never_done(service: Service, world: World) -> None:
    """F1, F3: it was dropped in silence, or stopped the load in its middle."""
    service.behave(missing_labels={"Generic Asset": ["Serial Number"], "Contact": ["Job Title"]})
    world.assets = [asset(1, 1, "PC-1", "CSP6000056", ipAddress="10.0.0.1"), asset(2, 1, "PC-2", "CSP6000057")]
    world.contacts = [contact(1, 1, "Ann", "Lee", jobTitle="CTO"), contact(2, 1, "Bob", "Ray", jobTitle="CEO")]
    target = service.target()
    plan = world.plan(target=target)
    assert no_place(world) == [("contacts", "Contact", "job_title", 2), ("assets", "Generic Asset", "serial_number", 2)]
    assert {n: sorted(each.changes) for n, each in world.operations("assets").items()} == {
        1: ["primary_ip"],
        2: ["name"],
    }
    rows = figures.status(world.settings, world.warehouse).no_place
    assert {(row.field, row.records) for row in rows} == {("job_title", 2), ("serial_number", 2)}
    results = world.finish(target)
    assert [results[name]["failed"] for name in ("contacts", "assets")] == [0, 0]
    assert (plan.operations, results["assets"]["adopted"], results["assets"]["created"]) == (5, 1, 1)
    in_sync(world, target)
    reasons = {each.reason for name in ("contacts", "assets") for each in world.operations(name).values()}
    assert reasons == {"no_place"}
    world.set("owner.assets.serial_number", "bms_wins")
    in_sync(world, target)


def test_a_value_is_filled_once_its_template_has_a_field_for_it(service: Service, world: World) -> None:
    """F2 the other way: what the preview asks for is seen, also where no document changes by it."""
    service.behave(missing_labels={"Generic Asset": ["Serial Number", "Primary IP"]})
    world.assets = [asset(1, 1, "PC-1", "CSP6000056", ipAddress="10.0.0.1"), asset(2, 1, "PC-2", "CSP6000057")]
    target = service.target()
    world.cycle(target=target)
    in_sync(world, target)
    service.now += NOW_AND_THEN
    service.behave(missing_labels={"Generic Asset": ["Primary IP"]})
    service.calls()
    world.cycle(target=target)
    assert {each["title"]: each["details"].get("Serial Number") for each in service.steer("GET", "records")
            if each["type"] == "asset"} == {"PC-1": "CSP6000056", "PC-2": "CSP6000057"}  # fmt: skip
    in_sync(world, target)
    assert no_place(world) == [("assets", "Generic Asset", "primary_ip", 1)]


def test_where_no_template_or_no_place_for_the_id_is_known_creates_wait_and_the_rest_goes_on(
    service: Service, world: World
) -> None:
    service.behave(missing_labels={"Contact": ["Notes"]})
    service.edit(103, disabled=True)
    world.accounts = [account(1, "Acme & Söhne, 100% +", location(1, "Depot"))]
    world.contacts = [contact(1, 1, "Bob", "Ray")]
    world.assets = [asset(1, 1, "PC-1", ipAddress="10.0.0.1")]
    target = service.target()
    results = world.cycle(target=target)
    assert world.operations("locations")[1][:2] == ("skip", "template_unknown")
    assert world.operations("contacts")[1][:2] == ("skip", "no_place_for_marker")
    assert results["assets"]["adopted"] == 1
    assert results["locations"]["unmatched"] == results["contacts"]["unmatched"] == 1
    assert plan_preview.overview(world.warehouse).totals["contacts"]["needs a decision"] == 1
    assert service.titles("contact") == ["Ann Lee"]


# F2: templates that are remembered forget


def test_a_label_that_was_taken_out_is_forgotten_after_one_refusal_each(service: Service, world: World) -> None:
    """F2: it was believed for good, and refused in every sync."""
    for number in range(6):
        service.hold(200 + number, "asset", f"PC-{number}0", 79, values={"Hostname": f"h{number}"})
    service.now += 60
    world.assets = [asset(n, 1, f"PC-{n}0", f"SN-77{n}31") for n in range(6)]
    target = service.target()
    world.plan(target=target)
    service.behave(missing_labels={"Generic Asset": ["Serial Number"]})
    assert world.finish(target)["assets"]["failed"] == 6
    refused = {row[0] for row in world.query("SELECT detail FROM sync.journal WHERE outcome = 'refused'")}
    assert refused == {"no place: template 79 has no field of plain text called Serial Number"}
    assert world.cycle(target=target)["assets"]["failed"] == 0
    in_sync(world, target)
    assert no_place(world) == [("assets", "Generic Asset", "serial_number", 6)]


def test_one_document_tells_of_a_label_that_was_taken_out_for_the_others(service: Service, tmp_path: Path) -> None:
    for number in range(5):
        service.hold(200 + number, "contact", f"P{number}", 5000)
    service.now += 60
    target = service.target()
    snapshot(target, tmp_path, CONTACTS)
    service.behave(missing_labels={"Contact": ["Phone"]})
    service.edit(202, details={"Fax": "1"})
    service.now += 60
    service.calls()
    rows = snapshot(target, tmp_path, CONTACTS)
    assert service.calls()[GET] == 1
    assert [each["name"] for each in rows.values() if "phone" in each["places"]] == []


def test_each_template_is_looked_at_once_a_day_and_not_more_often(service: Service, tmp_path: Path) -> None:
    for number in range(5):
        service.hold(200 + number, "contact", f"P{number}", 5000)
    service.now += 60
    target = service.target()
    snapshot(target, tmp_path, CONTACTS)
    service.behave(missing_labels={"Contact": ["Phone"]})
    service.now += 3600
    service.calls()
    snapshot(target, tmp_path, CONTACTS)
    assert GET not in service.calls(), "a sync with nothing new reads no document"
    service.now += NOW_AND_THEN
    rows = snapshot(target, tmp_path, CONTACTS)
    assert service.calls()[GET] == 1
    assert [each["name"] for each in rows.values() if "phone" in each["places"]] == []


def test_a_template_that_was_made_anew_replaces_the_one_of_its_name(service: Service, world: World) -> None:
    service.hold(201, "asset", "Firewall", 113)
    service.behave(deleted_templates=["Generic Asset"])
    target = service.target(passportal_templates="asset=113")
    world.assets = [asset(1, 1, "FW-2")]
    assert world.cycle(target=target)["assets"]["created"] == 1
    assert {each.template for each in service.store.records.values() if each.title == "FW-2"} == {113}


@pytest.mark.parametrize("uids", ["prefixed", "capitals", "bare", "either"])
@pytest.mark.parametrize("ids", ["number", "uid"])
def test_a_template_is_named_with_or_without_its_prefix_as_the_service_wants_it(
    service: Service, tmp_path: Path, uids: str, ids: str
) -> None:
    service.behave(template_uids=uids, template_ids=ids)
    target = service.target(passportal_templates="asset=tpl-79")
    snapshot(target, tmp_path, ASSETS)
    new = [Write(n, str(ACME), values={"name": f"PC-{n}", "serial_number": f"CSP600005{n}"}) for n in (2, 3)]
    assert {each.outcome for each in target.create(ASSETS, new)} == {Outcome.DONE}
    found = target.find(ASSETS, new)
    assert {service.store.records[int(id_)].template for id_ in found.values()} == {79}
    changes = [change(7, "102", email=(None, "ann@a.example"))]
    assert refusals(target.update(CONTACTS, changes)) == {}
    assert service.titles("asset") == ["PC-1", "PC-2", "PC-3"]
    rows = snapshot(target, tmp_path, ASSETS)
    assert {rows[id_]["template"] for id_ in ("101", *found.values())} == {"Generic Asset"}


def test_a_second_sync_plans_nothing_whichever_name_of_the_template_was_sent_first(
    service: Service, world: World
) -> None:
    service.behave(template_uids="bare", template_ids="uid")
    target = service.target(passportal_templates="asset=tpl-79")
    world.assets = [asset(1, 1, "PC-1", "CSP6000056"), asset(2, 1, "PC-2"), asset(3, 1, "PC-3")]
    world.contacts = [contact(1, 1, "Ann", "Lee", "ann@a.example")]
    results = world.cycle(target=target)
    assert (results["assets"]["created"], results["assets"]["failed"], results["contacts"]["adopted"]) == (2, 0, 1)
    in_sync(world, target)


# F4: titles


@pytest.mark.parametrize("service_encodes", [True, False], ids=["the service encodes", "one was stored encoded"])
def test_an_encoded_title_is_the_record_that_it_names_and_stays_so(
    service: Service, world: World, service_encodes: bool
) -> None:
    """F4: the location was created a second time."""
    title = "Michelleville Data Centre" if service_encodes else "Michelleville%20Data%20Centre"
    service.behave(encoded_titles=service_encodes)
    service.hold(203, "location", title, 5001)
    service.hold(204, "location", "Room 1 & 2" if service_encodes else "Room 1 &amp; 2", 5001)
    sites = [location(1, "Michelleville Data Centre", addresses=[{"city": "Linz", "isMain": True}])]
    world.accounts = [account(1, "Acme & Söhne, 100% +", *sites, location(2, "room 1 & 2"))]
    target = service.target()
    results = world.cycle(target=target)
    assert (results["locations"]["created"], results["locations"]["adopted"]) == (0, 2)
    held = service.record(203)
    assert (held["title"], held["marker"], held["details"]["City"]) == (title, "1", "Linz"), "its title is as it was"
    in_sync(world, target)


# F5: labels as the tenant spells them


def test_labels_are_read_kindly_and_written_exactly(service: Service, world: World) -> None:
    """F5: the vendor's own sample prints another spelling than we want."""
    service.behave(spelled_labels={"Location": {"ZIP / Postal Code": "Zip/Postal Code:", "City": "CITY"},
                                   "Contact": {"Email Address": "E&#45;Mail Address"}})  # fmt: skip
    service.hold(203, "location", "Depot", 5001, values={"ZIP / Postal Code": "8010"})
    address = {"city": "Graz", "zipCode": "8010", "isMain": True}
    world.accounts = [
        account(
            1,
            "Acme & Söhne, 100% +",
            location(1, "Depot", addresses=[address]),
            location(2, "New", addresses=[address]),
        )
    ]
    target = service.target()
    results = world.cycle(target=target)
    assert (results["locations"]["adopted"], results["locations"]["created"]) == (1, 1)
    written = [each["details"] for each in service.steer("GET", "records") if each["title"] in {"Depot", "New"}]
    assert written == [{"City": "Graz", "ZIP / Postal Code": "8010"}] * 2
    in_sync(world, target)
    assert no_place(world) == []


# F6: ids that others wrote


THEIRS = {"ID": "1", "Integration Type": "Kaseya BMS"}


@pytest.mark.parametrize("marker", ["notes", "id_fields"])
def test_an_id_that_others_wrote_matches_nothing_of_another_name(service: Service, world: World, marker: str) -> None:
    """F6: a firewall was adopted into a printer's document, by no person."""
    service.hold(201, "asset", "Printer", 79, values=THEIRS)
    world.assets = [asset(1, 1, "Firewall", "CSP6000056")]
    target = service.target(passportal_marker=marker)
    world.cycle(target=target)
    assert world.decisions("assets")[1][:2] == ("to_create", "not_in_passportal")
    assert service.record(201)["details"] == THEIRS
    assert service.titles("asset") == ["Firewall", "PC-1", "Printer"]
    in_sync(world, target)


@pytest.mark.parametrize(("name", "serial"), [("firewall", None), ("Other", "CSP-6000056")])
def test_an_id_counts_where_client_and_name_or_serial_number_agree(
    service: Service, world: World, name: str, serial: str | None
) -> None:
    values = {**THEIRS, **({"Serial Number": serial} if serial else {})}
    service.hold(201, "asset", name, 79, values=values)
    service.hold(202, "asset", name, 79, values=dict(values, ID="999"))
    world.assets = [asset(1, 1, "Firewall", "CSP6000056")]
    target = service.target()
    world.cycle(target=target)
    assert world.decisions("assets")[1] == ("matched", "integration_id_agrees", "201")
    assert service.record(201)["details"]["ID"] == "1", "what they wrote stays"
    assert service.record(201)["marker"] == "1"
    in_sync(world, target)


# F7: formatted text


def test_notes_that_an_editor_formats_bear_their_marker_and_keep_their_text(service: Service, world: World) -> None:
    """F7: the marker was not recognised, and a create counted as accepted and not listed."""
    service.behave(notes_as_html=True)
    service.hold(201, "asset", "PC-9", 79, values={"Notes": "<p>Ring <b>first</b>.</p>"})
    world.assets = [asset(1, 1, "PC-2", "CSP6000056"), asset(2, 1, "PC-3"), asset(9, 1, "PC-9")]
    target = service.target()
    results = world.cycle(target=target)
    assert (results["assets"]["created"], results["assets"]["adopted"], results["assets"]["failed"]) == (2, 1, 0)
    assert service.store.records[201].values["Notes"] == "<p>Ring <b>first</b>.</p><p>Kaseya BMS ID: 9</p>"
    in_sync(world, target)
    other = service.target(bms_pipeline_home=service.folder / "another home")
    found = snapshot(other, service.folder, ASSETS)
    assert sorted(each["bms_id"] for each in found.values() if each["bms_id"]) == [1, 2, 9]
    assert found["201"]["notes"] == "Ring first."


# F8, F9: links, choices, yes/no


def test_links_choices_and_yes_or_no_are_read_and_never_overwritten(service: Service, world: World) -> None:
    """F8, F9: a plain text took the place of a link, and "Please Select" was a person's value."""
    service.behave(
        label_types={"Contact": {"Primary Contact": "boolean", "Location": "link"}, "Generic Asset": {"Notes": "html"}},
        label_options={"Generic Asset": {"Status": ["Active", "Retired"]}},
    )
    service.hold(201, "asset", "PC-9", 79, values={"Status": "Active", "Location": Link("HQ", 103, "location")})
    service.hold(202, "asset", "PC-8", 79, values={"Notes": "<p>Ring.</p>", "Location": "Depot"})
    world.assets = [asset(n, 1, f"PC-{n}", locationName="Depot") for n in (8, 9)]
    world.contacts = [contact(1, 1, "Ann", "Lee", isPoc=True, locationName="Depot"), contact(2, 1, "Bob", "Ray")]
    target = service.target()
    world.plan(target=target)
    world.answer_details({n: {"id": n, "state": "Deployed", "description": "New."} for n in (8, 9)})
    results = world.cycle(target=target)
    assert [results[name]["failed"] for name in ("contacts", "assets")] == [0, 0]
    world.assets = [asset(n, 1, f"PC-{n}", locationName="Elsewhere") for n in (8, 9)]
    world.set("owner.assets.location", "bms_wins")
    world.set("owner.assets.status", "bms_wins")
    world.cycle(target=target)
    held = service.store.records
    assert (held[201].values["Location"], held[201].values["Status"]) == (Link("HQ", 103, "location"), "Active")
    assert held[202].values["Notes"] == "<p>Ring.</p><p>Kaseya BMS ID: 8</p>"
    assert held[202].values["Location"] == "Elsewhere", "in this one it is plain text"
    assert held[102].values["Location"] == Link("HQ", 103, "location")
    in_sync(world, target)
    assert world.operations("assets")[9].kept == {
        "location": ("Elsewhere", "HQ"), "status": ("Deployed", "Active"),
    }  # fmt: skip
    assert ("assets", "Generic Asset", "status", 1) in no_place(world), "Please Select is nothing, and no plain text"


@pytest.mark.parametrize("values", ["text", "element"])
def test_a_change_beside_them_sends_them_back_as_they_came(service: Service, values: str) -> None:
    service.behave(
        values=values,
        label_types={"Contact": {"Primary Contact": "boolean"}},
        label_options={"Contact": {"Contact Type": ["Technical", "Billing"]}},
    )
    service.edit(102, details={"Primary Contact": "Yes", "Contact Type": "Billing", "Fax": "<p>1</p>"})
    before = service.record(102)["details"]
    target = service.target(passportal_values=values)
    assert refusals(target.update(CONTACTS, [change(7, "102", phone=(None, "1"))])) == {}
    assert service.record(102)["details"] == {**before, "Phone": "1"}
    refused = target.update(CONTACTS, [change(7, "102", primary_contact=("Yes", "No"))])
    assert "no place" in refusals(refused)[7]
    assert service.record(102)["details"] == {**before, "Phone": "1"}


# F12: the first new document of a template


def test_the_first_new_document_of_a_template_goes_out_alone_and_is_read_back(service: Service, tmp_path: Path) -> None:
    target = service.target()
    snapshot(target, tmp_path, CONTACTS)
    service.calls()
    assert refusals(target.create(CONTACTS, persons(*range(20, 50)))) == {}
    assert service.calls()[POST] == 2
    assert refusals(target.create(CONTACTS, persons(*range(50, 60)))) == {}
    assert service.calls()[POST] == 1, "it is proven"


def test_a_service_that_ignores_values_gets_one_blank_document_and_no_other_ever(
    service: Service, world: World
) -> None:
    """F12: up to fifty blank documents, which no call removes."""
    service.behave(ignores_details=True)
    world.contacts = [contact(n, 1, "Person", str(n), f"p{n}@a.example") for n in range(2, 12)]
    results = world.cycle(target=service.target())
    assert (results["contacts"]["created"], results["contacts"]["failed"]) == (0, 10)
    assert len(service.titles("contact")) == 2
    details = [
        row[0] for row in world.query("SELECT detail FROM sync.journal WHERE outcome = 'refused' ORDER BY bms_id")
    ]
    assert "did not keep" in details[0]
    assert "60000000" in details[0]
    assert all(each.startswith("not sent: document 60000000") for each in details[1:])
    for _ in range(2):
        service.calls()
        results = world.cycle(target=service.target())
        assert results["contacts"]["created"] == 0
    assert len(service.titles("contact")) == 2, "the blank one was adopted by its name"
    service.behave(ignores_details=False)
    service.edit(60000000, disabled=True)
    assert world.cycle(target=service.target())["contacts"]["created"] == 9
    assert len(service.titles("contact")) == 10
    in_sync(world, service.target())


def test_when_the_answer_to_the_first_is_lost_the_others_are_not_sent(service: Service, tmp_path: Path) -> None:
    target = service.target()
    snapshot(target, tmp_path, CONTACTS)
    service.behave(lose_calls=[1])
    outcomes = target.create(CONTACTS, persons(20, 21, 22))
    assert [each.outcome for each in outcomes] == [Outcome.UNKNOWN, Outcome.NOT_SENT, Outcome.NOT_SENT]
    assert service.titles("contact") == ["Ann Lee"]


def test_a_template_that_was_never_seen_is_learned_from_its_first_document(service: Service, world: World) -> None:
    service.behave(missing_labels={"Network Device": ["Primary IP"]}, ignores_unknown=True)
    target = service.target(passportal_templates="asset=113")
    world.assets = [asset(n, 1, f"FW-{n}", ipAddress="10.0.0.1") for n in (1, 2, 3)]
    first = world.cycle(target=target)
    assert first["assets"]["failed"] == 3
    assert service.titles("asset") == ["FW-1", "PC-1"]
    results = world.cycle(target=target)
    assert (results["assets"]["adopted"], results["assets"]["created"], results["assets"]["failed"]) == (1, 2, 0)
    in_sync(world, target)
    assert no_place(world) == [("assets", "Network Device", "primary_ip", 3)]


def test_a_memory_of_an_older_version_is_read_once_more(service: Service, tmp_path: Path) -> None:
    file = service.settings(bms_pipeline_home=tmp_path / "old").documents_file
    file.parent.mkdir()
    with closing(connect(file)) as memory:
        memory.execute("CREATE TABLE listed (type VARCHAR, id VARCHAR)")
        memory.execute("CREATE TABLE details (type VARCHAR, id VARCHAR)")
        memory.execute("INSERT INTO details VALUES ('contact', '102')")
    target = service.target(bms_pipeline_home=tmp_path / "old")
    assert snapshot(target, tmp_path, CONTACTS)["102"]["name"] == "Ann Lee"


# Required fields


def test_a_template_that_requires_what_nobody_has_refuses_by_record_and_the_rest_goes_on(
    service: Service, world: World
) -> None:
    service.behave(required_labels={"Contact": ["Email Address"]})
    world.contacts = [contact(1, 1, "Bob", "Ray"), contact(2, 1, "Cat", "Fox", "cat@a.example")]
    target = service.target()
    results = world.cycle(target=target)
    assert (results["contacts"]["created"], results["contacts"]["failed"]) == (1, 1)
    assert service.titles("contact") == ["Ann Lee", "Cat Fox"]


def needs(world: World) -> list[tuple[Any, ...]]:
    return [(row.entity, row.template, row.label, row.records) for row in plan_preview.overview(world.warehouse).needs]


def test_what_one_refusal_named_blocks_the_others_by_name_before_anything_is_sent(
    service: Service, world: World
) -> None:
    service.behave(required_labels={"Contact": ["Email Address"]})
    world.contacts = [contact(1, 1, "Bob", "Ray"), contact(2, 1, "Cat", "Fox", "cat@a.example")]
    target = service.target()
    world.cycle(target=target)
    world.contacts += [contact(3, 1, "Dan", "Moe"), contact(4, 1, "Eve", "Low", "eve@a.example")]
    service.calls()
    results = world.cycle(target=target)
    assert service.calls()[POST] == 1, "only the one that has what the template requires"
    assert {n: world.operations("contacts")[n][:2] for n in (1, 3)} == dict.fromkeys((1, 3), ("skip", "template_needs"))
    assert needs(world) == [("contacts", "Contact", "Email Address", 2)]
    assert plan_preview.overview(world.warehouse).totals["contacts"]["needs a decision"] == 2
    assert results["contacts"]["created"] == 1
    in_sync(world, target)
    stands = figures.explain(world.warehouse, "contacts", 3).standing
    assert stands is not None
    assert (stands.reason, stands.next_step) == (Reason.TEMPLATE_NEEDS, NextStep.CORRECT)
    world.contacts[2] = contact(3, 1, "Dan", "Moe", "dan@a.example")
    assert world.cycle(target=target)["contacts"]["created"] == 1
    in_sync(world, target)


def test_a_person_asks_for_it_again_once_the_element_is_optional(service: Service, world: World) -> None:
    service.behave(required_labels={"Contact": ["Email Address"]})
    world.contacts = [contact(1, 1, "Bob", "Ray"), contact(2, 1, "Cat", "Fox")]
    target = service.target()
    world.cycle(target=target)
    service.behave(required_labels={})
    assert world.plan(target=target).operations == 0, "nobody can see that from here"
    assert [row["bms_id"] for row in figures.refused_values(world.warehouse)] == [1, 2]
    deciding.retry(world.warehouse, {"contacts": None})
    assert world.cycle(target=target)["contacts"]["created"] == 2
    assert needs(world) == []
    world.contacts.append(contact(3, 1, "Dan", "Moe"))
    assert world.cycle(target=target)["contacts"]["created"] == 1, "what was taken without it is not needed"


def test_an_element_that_no_field_fills_blocks_every_create_by_its_name(service: Service, world: World) -> None:
    labels = {"Contact": ["Contract No", "Email Address"]}
    service.behave(added_labels={"Contact": ["Contract No"]}, required_labels=labels)
    world.contacts = [contact(1, 1, "Bob", "Ray", "bob@a.example"), contact(2, 1, "Cat", "Fox")]
    target = service.target()
    world.cycle(target=target)
    in_sync(world, target)
    assert needs(world) == [
        ("contacts", "Contact", "Contract No", 2),
        ("contacts", "Contact", "Email Address", 1),
    ]
    assert world.query("SELECT bms_id, needs FROM sync.planned_contacts ORDER BY bms_id") == [
        (1, ["Contract No"]),
        (2, ["Contract No", "Email Address"]),
    ]


def test_what_was_never_sent_is_tried_too_once_a_person_asks_for_all(service: Service, world: World) -> None:
    """The one that was refused has its value by now, so nothing that was refused is left to ask for."""
    service.behave(required_labels={"Contact": ["Email Address"]})
    world.contacts = [contact(1, 1, "Bob", "Ray")]
    target = service.target()
    world.cycle(target=target)
    world.contacts = [contact(1, 1, "Bob", "Ray", "bob@a.example"), contact(2, 1, "Cat", "Fox")]
    assert world.cycle(target=target)["contacts"]["created"] == 1
    in_sync(world, target)
    (row,) = figures.refused_values(world.warehouse)
    assert (row["bms_id"], row["refused_at"], row["needs"]) == (2, None, ["Email Address"])
    service.behave(required_labels={})
    deciding.retry(world.warehouse, {"contacts": None})
    assert world.cycle(target=target)["contacts"]["created"] == 1


def test_a_person_who_asks_for_one_record_sends_that_one_alone(service: Service, world: World) -> None:
    service.behave(required_labels={"Contact": ["Email Address"]})
    world.contacts = [contact(n, 1, "Bob", f"Ray {n}") for n in range(1, 4)]
    target = service.target()
    world.cycle(target=target)
    deciding.retry(world.warehouse, {"contacts": [1]})
    world.plan(target=target)
    assert {n: row[0] for n, row in world.operations("contacts").items()} == {1: "create", 2: "skip", 3: "skip"}


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        ("Contact requires Email Address", {"Email Address"}),
        ("EMAIL ADDRESS is required", {"Email Address"}),
        ("Zip/Postal Code: must not be blank; Fax: must not be blank", {"ZIP / Postal Code", "Fax"}),
        ("Job Title: choose one of the list", set()),
        ("Email is no address", set()),
        ("Job Title is not known in Fax", set()),
        ("Faxes are not possible", set()),
        ("Quota exceeded", set()),
        ("", set()),
    ],
)
def test_only_blank_labels_that_a_refusal_names_as_they_are_spelled_are_needed(words: str, needed: set[str]) -> None:
    names = {"Email Address": "Email Address", "Email": "Email", "ZIP / Postal Code": "Zip/Postal Code:", "Fax": "Fax"}
    elements = {label: Element(str(n), name) for n, (label, name) in enumerate([*names.items(), ("Job Title",) * 2])}
    document = Document("", "11", "Bob", "5000", "", values={"Job Title": "Boss", "Email": "b"}, elements=elements)
    assert needed_by(document, words) == needed


MANIFEST = (
    "Passportal Import Type,Template Name,CSV Name,Internal Identifier Column,CSV Column,Required,Input Type\n"
    "Contacts,Contact,contact.csv,client_name,client_name,Yes,text\n"
    "Contacts,Contact,contact.csv,Name,name,Yes,text\n"
    "Contacts,Contact,contact.csv,Email  Address:,email,yes,text\n"
    "Contacts,Contact,contact.csv,Notes,notes,Yes,textarea\n"
    "Contacts,Contact,contact.csv,Job Title,job,No,text\n"
    "Assets,Contact,asset.csv,Phone,phone,Yes,text\n"
)


@pytest.mark.parametrize("is_zip", [False, True], ids=["manifest.csv", "ZIP"])
def test_what_the_manifest_requires_is_blocked_before_the_first_refusal(
    service: Service, world: World, tmp_path: Path, is_zip: bool
) -> None:
    file = tmp_path / ("import.zip" if is_zip else "manifest.csv")
    if is_zip:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("templates/manifest.csv", "\N{BYTE ORDER MARK}" + MANIFEST)
    else:
        file.write_text(MANIFEST, encoding="utf-8")
    service.behave(required_labels={"Contact": ["Email Address"]})
    world.contacts = [contact(1, 1, "Bob", "Ray"), contact(2, 1, "Cat", "Fox", "cat@a.example")]
    target = service.target(passportal_templates_file=file)
    results = world.cycle(target=target)
    assert needs(world) == [("contacts", "Contact", "Email  Address:", 1)]
    assert (results["contacts"]["created"], results["contacts"]["failed"]) == (1, 0)
    assert world.operations("contacts")[1][:2] == ("skip", "template_needs")
    in_sync(world, target)
    deciding.retry(world.warehouse, {"contacts": [1]})
    assert world.plan(target=target).operations == 0, "the manifest says so, and no refusal"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        ("a,b\n1,2\n", "has no column 'Passportal Import Type'"),
        ("", "has no column"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        ('Template Name\n"open', "is no CSV file"),
    ],
)
def test_a_templates_file_that_is_none_is_refused_by_its_fault(
    service: Service, tmp_path: Path, content: str | bytes | None, says: str
) -> None:
    file = tmp_path / "manifest.csv"
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SettingsError, match=f"PASSPORTAL_TEMPLATES_FILE .*{says}"):
        service.target(passportal_templates_file=file)


# Answers that are lost on the way


@pytest.mark.parametrize("status", [408, 444, 460, 499, 502, 504, 520, 524])
def test_a_gateways_word_to_a_write_is_a_lost_answer_and_no_refusal(
    service: Service, tmp_path: Path, status: int
) -> None:
    for refused_with_200 in (False, True):
        target = service.target()
        snapshot(target, tmp_path, CONTACTS)
        fault = {"kind": "status", "status": status}
        service.behave(refused_with_200=refused_with_200, faults=[{"route": POST, **fault}, {"route": "PUT", **fault}])
        outcomes = target.create(CONTACTS, [person(20)])
        outcomes += target.update(CONTACTS, [change(7, "102", phone=(None, "1"))])
        assert [each.outcome for each in outcomes] == [Outcome.UNKNOWN] * 2
        service.behave(faults=[], refused_with_200=False)
    assert PUT in service.calls()


# Any template


LABELS = ("Serial Number", "Primary IP", "Location", "Type", "Assigned User")


@pytest.mark.parametrize("seed", quick_and_soak(range(3), range(40)))
def test_whatever_the_template_is_a_second_sync_plans_nothing_and_no_element_of_others_changes(
    service: Service, world: World, seed: int
) -> None:
    chance = random.Random(seed)
    print(f"seed {seed}")
    gone = [label for label in LABELS if chance.random() < 0.3]
    types = {each: chance.choice(["boolean", "html", "link", "gauge"]) for each in LABELS if chance.random() < 0.3}
    switches = {
        "missing_labels": {"Generic Asset": gone},
        "added_labels": {"Generic Asset": ["Colour"]},
        "spelled_labels": {"Generic Asset": {each: chance.choice([each.upper(), f"{each}:", each.replace(" ", "")])
                                             for each in LABELS if chance.random() < 0.5}},
        "label_types": {"Generic Asset": types},
        "blanks": chance.choice(["shown", "left out"]),
        "encoded_titles": chance.random() < 0.5,
        "notes_as_html": chance.random() < 0.5,
        "template_uids": chance.choice(["prefixed", "capitals", "bare", "either"]),
        "details_form": chance.choice(["keys", "positions"]),
        "bare_values": chance.random() < 0.5,
        "ignores_unknown": True,
    }  # fmt: skip
    print(switches)
    service.behave(**switches)
    for number in range(4):
        labels = [each for each in (*LABELS, "Colour") if each not in gone and chance.random() < 0.6]
        texts = {each: ["Yes"] if types.get(each) == "boolean" else ["Yes", "old", "<p>old</p>"] for each in labels}
        values = {label: chance.choice(texts[label]) for label in labels}
        service.hold(200 + number, "asset", f"PC {number}0", 79, values=values)
    typed = {id_: {k: v for k, v in each.values.items() if k in types or k == "Colour"}
             for id_, each in service.store.records.items() if each.type == "asset"}  # fmt: skip
    world.assets = [
        asset(n, 1, f"PC {n}0", f"CSP60000{n}", ipAddress=f"10.0.0.{n}", locationName="HQ", contactName="Ann")
        for n in range(8)
    ]
    target = service.target()
    for _ in range(4):
        if not world.plan(target=target).operations:
            break
        world.finish(target)
    in_sync(world, service.target())
    assert sorted(service.titles("asset")) == sorted({"PC-1", *(f"PC {n}0" for n in range(8))}), "nothing twice"
    for id_, written in typed.items():
        held = service.store.records[id_].values
        assert {label: held.get(label) for label in written} == written, "what is no plain text stays"
    left = loading.unknown_writes(world.warehouse)
    assert left == []


def test_writes_are_refused_by_name_where_the_document_changed_its_template(service: Service) -> None:
    """A label that went between plan and load is no place any more, and nothing of that record is written."""
    service.behave(missing_labels={"Contact": ["Phone"]})
    write = Write(7, str(ACME), "102", {"phone": "1", "email": "a@a.example"}, {"phone": None, "email": None})
    assert "called Phone" in refusals(service.target().update(CONTACTS, [write]))[7]
    assert "Email Address" not in service.record(102)["details"]
