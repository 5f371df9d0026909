"""Documents under labels that a mapping gives: which are read again, what is in a snapshot, and where writes go."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline.core.entities import ASSETS, CONTACTS
from bms_pipeline.core.mapping import DEFAULT, Mapping
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.core.vocabulary import NewRecords, Outcome
from bms_pipeline.passportal.documents.target import DocumentsPassportal
from bms_pipeline.passportal.target import Write
from bms_pipeline_tests.passportal.conftest import ACME, Service
from bms_pipeline_tests.passportal.test_documents import GET, snapshot
from bms_pipeline_tests.running import quick_and_soak
from bms_sandbox.documents_api.templates import TEMPLATES, Template

DEVICE = Template(31, "Gerät", "asset", ("Seriennummer", "IP-Adresse", "Mgmt IP", "Raum", "Notizen"))
SWITCH = Template(32, "Netzwerk", "asset", ("S/N", "IP-Adresse", "Mgmt IP", "Notes", "Notizen"))
GERMAN = {"assets": {"fields": {"serial_number": "Seriennummer", "primary_ip": "IP-Adresse", "notes": "Notizen"}}}


@pytest.fixture
def tenant(service: Service) -> Service:
    """Two templates of its own, with ten documents each; every second one has an address."""
    service.store.templates = {**TEMPLATES, 31: DEVICE, 32: SWITCH}
    for number in range(10):
        address = {"IP-Adresse": f"10.0.0.{number}"} if number % 2 else {}
        values = {**address, "Seriennummer": f"DE-{number}", "Notizen": "von Hand"}
        service.hold(300 + number, "asset", f"PC {number}", 31, values=values)
        service.hold(400 + number, "asset", f"SW {number}", 32, values={**address, "S/N": f"SW-{number}"})
    service.now += 60
    return service


def mapped(service: Service, said: dict[str, Any] | Mapping, home: str = "home") -> DocumentsPassportal:
    mapping = said if isinstance(said, Mapping) else parse_mapping(said)
    settings = service.settings(bms_pipeline_home=service.folder / home)
    return DocumentsPassportal(settings, mapping, clock=lambda: service.now, sleep=service.sleep)


def column(found: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    return {id_: row[name] for id_, row in found.items() if row[name] is not None}


def test_labels_of_another_language_are_read_and_their_places_known(tenant: Service, tmp_path: Path) -> None:
    found = snapshot(mapped(tenant, GERMAN), tmp_path, ASSETS)
    assert column(found, "serial_number") == {str(300 + number): f"DE-{number}" for number in range(10)}
    assert found["300"]["places"] == ["name", "serial_number", "primary_ip", "notes"]
    assert found["400"]["places"] == ["name", "primary_ip", "notes"]
    assert (found["300"]["template_id"], found["300"]["template"]) == ("31", "Gerät")


@pytest.mark.parametrize("newest", ["full", "with blanks"])
def test_a_document_filled_in_every_field_has_no_place_that_its_template_lacks(
    tenant: Service, tmp_path: Path, newest: str
) -> None:
    """It shows no blank, so alone it could hide some: each sync planned what Passportal then refused."""
    number = 390 if newest == "full" else 290
    tenant.hold(number, "asset", "PC full", 31, values=dict.fromkeys(DEVICE.labels, "full"))
    found = snapshot(mapped(tenant, GERMAN), tmp_path, ASSETS)
    assert found[str(number)]["places"] == found["300"]["places"] == ["name", "serial_number", "primary_ip", "notes"]


def test_one_template_may_have_a_label_of_its_own(tenant: Service, tmp_path: Path) -> None:
    only = {"32": {"fields": {"serial_number": "S/N", "primary_ip": False}}}
    found = snapshot(mapped(tenant, {"assets": {**GERMAN["assets"], "only": only}}), tmp_path, ASSETS)
    assert column(found, "serial_number")["405"] == "SW-5"
    assert column(found, "primary_ip") == {str(300 + number): f"10.0.0.{number}" for number in range(1, 10, 2)}
    assert found["401"]["places"] == ["name", "serial_number", "notes"], "left out is no place"


def test_another_label_reads_only_the_documents_that_are_filled_under_it(tenant: Service, tmp_path: Path) -> None:
    snapshot(mapped(tenant, DEFAULT), tmp_path, ASSETS)
    assert tenant.calls()[GET] == 21
    serial = {"assets": {"fields": {"serial_number": "Seriennummer"}}}
    found = snapshot(mapped(tenant, serial), tmp_path, ASSETS)
    assert tenant.calls()[GET] == 10, "template 31 alone has it"
    assert column(found, "serial_number")["307"] == "DE-7"
    both = {"assets": {"fields": {"serial_number": "Seriennummer", "primary_ip": "ip-ADRESSE :"}}}
    found = snapshot(mapped(tenant, both), tmp_path, ASSETS)
    assert tenant.calls()[GET] == 10, "five of each template have an address"
    assert column(found, "serial_number")["306"] == "DE-6", "read under an unchanged label, and kept"
    assert column(found, "primary_ip")["403"] == "10.0.0.3"
    snapshot(mapped(tenant, both), tmp_path, ASSETS)
    assert GET not in tenant.calls()


def test_a_label_of_one_template_leaves_the_others_read(tenant: Service, tmp_path: Path) -> None:
    snapshot(mapped(tenant, GERMAN), tmp_path, ASSETS)
    tenant.calls()
    only = {"assets": {**GERMAN["assets"], "only": {"32": {"fields": {"serial_number": "S/N"}}}}}
    found = snapshot(mapped(tenant, only), tmp_path, ASSETS)
    assert tenant.calls()[GET] == 10
    assert (found["300"]["serial_number"], found["400"]["serial_number"]) == ("DE-0", "SW-0")


def test_a_field_left_out_is_neither_read_nor_a_place_and_comes_back_without_a_call(
    tenant: Service, tmp_path: Path
) -> None:
    snapshot(mapped(tenant, GERMAN), tmp_path, ASSETS)
    tenant.calls()
    without = {"assets": {"fields": {**GERMAN["assets"]["fields"], "serial_number": False}}}
    found = snapshot(mapped(tenant, without), tmp_path, ASSETS)
    assert column(found, "serial_number") == {}
    assert "serial_number" not in found["300"]["places"]
    assert column(snapshot(mapped(tenant, GERMAN), tmp_path, ASSETS), "serial_number")["300"] == "DE-0"
    assert GET not in tenant.calls()


def test_what_a_mapping_will_read_is_foretold_without_a_call(tenant: Service, tmp_path: Path) -> None:
    snapshot(mapped(tenant, DEFAULT), tmp_path, ASSETS)
    tenant.calls()
    foretold = mapped(tenant, GERMAN).snapshot_known(ASSETS, tmp_path / "known.parquet")
    assert tenant.calls() == {}
    snapshot(mapped(tenant, GERMAN), tmp_path, ASSETS)
    assert (tenant.calls()[GET], foretold) == (15, 15)
    empty = mapped(tenant, GERMAN, "another home").snapshot_known(ASSETS, tmp_path / "known.parquet")
    assert (tenant.calls(), empty) == ({}, 0)


def test_the_marker_goes_under_its_own_label(tenant: Service, tmp_path: Path) -> None:
    target = mapped(tenant, {"marker_label": "Notizen", **GERMAN})
    found = snapshot(target, tmp_path, ASSETS)
    change = Write(7, str(ACME), "301", {"serial_number": "NEW"}, {"serial_number": "DE-1"})
    new = Write(8, str(ACME), None, {"name": "New", "notes": "ours", "serial_number": "N-1"}, template_id="31")
    outcomes = [*target.update(ASSETS, [change]), *target.create(ASSETS, [new])]
    assert [(written.outcome, written.detail) for written in outcomes] == [(Outcome.DONE, "")] * 2
    assert tenant.store.records[301].values["Notizen"] == "von Hand\nKaseya BMS ID: 7"
    again = snapshot(target, tmp_path, ASSETS)
    (created,) = set(again) - set(found)
    assert tenant.store.records[int(created)].values == {
        "Notizen": "ours\nKaseya BMS ID: 8",
        "Seriennummer": "N-1",
    }
    assert (again["301"]["bms_id"], again["301"]["notes"], again[created]["bms_id"]) == (7, "von Hand", 8)


def test_a_new_document_gets_the_template_of_its_plan_and_its_labels(tenant: Service, tmp_path: Path) -> None:
    rules = [{"category": ["Switch"], "into": 32}, {"into": 31}]
    only = {"32": {"fields": {"serial_number": "S/N"}}}
    target = mapped(
        tenant, {"marker_label": "Notizen", "assets": {**GERMAN["assets"], "template": rules, "only": only}}
    )
    before = snapshot(target, tmp_path, ASSETS)
    writes = [
        Write(1, str(ACME), None, {"name": "New SW", "serial_number": "X-1"}, template_id="32"),
        Write(2, str(ACME), None, {"name": "New PC", "serial_number": "X-2"}),
        Write(3, str(ACME), None, {"name": "New PC 2", "serial_number": "X-3"}, template_id="31"),
        Write(4, str(ACME), None, {"name": "New SW 2", "model": "no place"}, template_id="32"),
    ]
    outcomes = target.create(ASSETS, writes)
    assert [written.outcome for written in outcomes] == [Outcome.DONE] * 3 + [Outcome.REFUSED]
    made = {row["name"]: row for id_, row in snapshot(target, tmp_path, ASSETS).items() if id_ not in before}
    assert {name: (row["template_id"], row["serial_number"], row["bms_id"]) for name, row in made.items()} == {
        "New SW": ("32", "X-1", 1),
        "New PC": ("31", "X-2", 2),
        "New PC 2": ("31", "X-3", 3),
    }


def test_places_are_told_of_every_template_that_new_records_get(tenant: Service) -> None:
    rules = [{"category": ["Switch"], "into": 32}, {"category": ["Box"], "into": 99}, {"into": 31}]
    target = mapped(tenant, {"marker_label": "Raum", "assets": {**GERMAN["assets"], "template": rules}})
    tenant.behave(missing_labels={"Netzwerk": ["Notizen"]})
    with target._memory.opened():
        target._reader.list_documents(ASSETS)
        target._reader.read_details(ASSETS)
        found = target._templates.new_records(ASSETS)
    assert (found["template_id"], found["template"], found["problem"]) == ("31", "Gerät", None)
    templates = found["templates"]
    assert isinstance(templates, list)
    by_id = {told["template_id"]: told for told in templates}
    assert by_id["31"]["places"] == ["name", "serial_number", "primary_ip", "notes"]
    assert by_id["32"]["problem"] == NewRecords.NO_PLACE_FOR_MARKER.value
    assert set(by_id) == {"31", "32", "99"}


def test_two_labels_that_fold_alike_are_neither_read_nor_written(service: Service, tmp_path: Path) -> None:
    service.store.templates = {**TEMPLATES, 33: Template(33, "Twice", "asset", ("IP Adresse", "IPAdresse", "Notes"))}
    service.hold(500, "asset", "PC 5", 33, values={"IP Adresse": "1", "IPAdresse": "2"})
    service.now += 60
    snapshot(mapped(service, DEFAULT), tmp_path, ASSETS)
    said = {"assets": {"fields": {"primary_ip": "ip adresse"}, "template": [{"into": 33}]}}
    target = mapped(service, said)
    found = snapshot(target, tmp_path, ASSETS)
    assert (found["500"]["primary_ip"], found["500"]["places"]) == (None, ["name", "notes"])
    write = Write(1, str(ACME), None, {"name": "New", "primary_ip": "3"})
    assert target.create(ASSETS, [write])[0].outcome is Outcome.REFUSED


def test_without_a_mapping_the_service_gets_the_same_calls(tenant: Service, tmp_path: Path) -> None:
    plain = DocumentsPassportal(tenant.settings(), clock=lambda: tenant.now, sleep=tenant.sleep)
    one = snapshot(plain, tmp_path, CONTACTS)
    calls = tenant.calls()
    assert snapshot(mapped(tenant, DEFAULT, "other"), tmp_path, CONTACTS) == one
    assert tenant.calls() == calls


@pytest.mark.parametrize("seed", quick_and_soak(range(6), range(80)))
def test_a_memory_read_under_other_labels_shows_what_a_new_one_would(
    service: Service, tmp_path: Path, seed: int
) -> None:
    """Whatever mappings came before, what is kept and what is read again come to the same."""
    chance = random.Random(seed)
    print(f"seed {seed}")
    labels = ("Alpha", "beta two", "Gamma", "gamma", "Delta:", "Notes", "Notizen", "Serial Number")
    types = {label: chance.choice(["boolean", "html", "link", "gauge"]) for label in labels if chance.random() < 0.15}
    own = [
        Template(number, f"T{number}", "asset", tuple(label for label in labels if chance.random() < 0.8), types=types)
        for number in (31, 32)
    ]
    service.store.templates = {**TEMPLATES, **{template.id: template for template in own}}
    service.behave(
        blanks=chance.choice(["shown", "left out"]),
        details_form=chance.choice(["keys", "positions"]),
        bare_values=chance.random() < 0.5,
        notes_as_html=chance.random() < 0.3,
    )
    for number in range(24):
        template = chance.choice(own)
        words = {label: ["Yes"] if types.get(label) == "boolean" else ["a", "b\nKaseya BMS ID: 7"] for label in labels}
        values = {label: chance.choice(words[label]) for label in template.labels if chance.random() < 0.5}
        service.hold(700 + number, "asset", f"D {number}", template.id, values=values)
    service.now += 60

    def some_mapping() -> Mapping:
        free = [*labels[:3], "Delta", "None such"]
        chance.shuffle(free)
        columns = ["serial_number", "primary_ip", "model", "manufacturer"]
        fields = {name: chance.choice([free[at], False]) for at, name in enumerate(columns) if chance.random() < 0.6}
        only = {"31": {"fields": {"location": "Gamma"}}} if "Gamma" not in fields.values() else {}
        return parse_mapping({"assets": {"fields": fields, "only": only}, "marker_label": chance.choice(labels[5:7])})

    for step in range(4):
        mapping = some_mapping()
        print(mapping.as_toml())
        kept = snapshot(mapped(service, mapping), tmp_path, ASSETS)
        new = snapshot(mapped(service, mapping, f"new {step}"), tmp_path, ASSETS)
        assert [row for id_, row in kept.items() if row != new[id_]] == [
            row for id_, row in new.items() if row != kept[id_]
        ]


def test_a_label_that_only_a_key_or_a_constant_has_is_read_filled_and_blanked(tenant: Service, tmp_path: Path) -> None:
    room = {"assets": {**GERMAN["assets"], "fields": {**GERMAN["assets"]["fields"], "detail.locationInfo": "Raum"}}}
    room["assets"]["constants"] = {"Mgmt IP": "none"}
    target = mapped(tenant, room)
    found = snapshot(target, tmp_path, ASSETS)
    assert {"detail_location_info", "constant_mgmt_ip"} <= set(found["301"]["places"])
    assert "detail_location_info" not in found["401"]["places"]
    for before, after in ((None, "R1"), ("R1", None)):
        values, held = ({"detail_location_info": text, "constant_mgmt_ip": text} for text in (after, before))
        (written,) = target.update(ASSETS, [Write(1, str(ACME), "301", values=values, before=held)])
        assert written.outcome is Outcome.DONE, written
        tenant.now += 60
        row = snapshot(target, tmp_path, ASSETS)["301"]
        assert (row["detail_location_info"], row["constant_mgmt_ip"]) == (after, after)
    elsewhere = Write(2, str(ACME), "401", values={"detail_location_info": "R1"}, before={"detail_location_info": None})
    (refused,) = target.update(ASSETS, [elsewhere])
    assert refused.outcome is Outcome.REFUSED
    assert "Raum" in refused.detail
