"""Templates of a tenant's own in the stand-in for Passportal: a tenant in German, and any other from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from bms_pipeline_tests.sandbox.calling import Clock
from bms_pipeline_tests.sandbox.passportal_calling import DOCUMENTS, Stranger
from bms_sandbox.documents_api.__main__ import open_store
from bms_sandbox.documents_api.behaviour import PassportalBehaviour
from bms_sandbox.documents_api.server import create_app
from bms_sandbox.documents_api.templates import TemplatesRefused, file_of, read_templates

OWN = """
[switches]
encoded_titles = true

[[template]]
id = 7
name = "Box"
type = "asset"
categories = ["Server", "Laptop"]
[template.fields]
"S-N" = { holds = "serial_number", required = true, most = 5 }
"Bought" = { type = "date" }
"Height" = { type = "number" }
"Room" = { type = "select", options = ["A", "B"], always = "A" }

[[template]]
id = 8
name = "Rack"
type = "asset"
categories = ["Server"]
[template.fields]
"Serial" = "serial_number"

[[template]]
id = 9
name = "Other"
type = "asset"
[template.fields]
"Kind" = { holds = "type", words = { Printer = "Drucker" } }

[[template]]
id = 10
name = "Person"
type = "contact"
[template.fields]
"Mail" = "email"

[[template]]
id = 11
name = "Site"
type = "location"
[template.fields]
"Town" = "city"
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own.toml"
    file.write_text(OWN, encoding="utf-8")
    return file


def opened(folder: Path, tenant: Path, file: Path) -> Stranger:
    store, switches = open_store(folder, tenant, file)
    clock = Clock()
    made = Stranger(create_app(store, PassportalBehaviour().changed(dict(switches)), clock), clock)
    made.sign_in()
    return made


def test_a_tenant_in_german_holds_its_documents_under_german_labels(tenant_folder: Path, tmp_path: Path) -> None:
    passportal = opened(tmp_path / "pp", tenant_folder, file_of("de"))
    rows = passportal.page(type="asset", resultsPerPage=1000)
    assert {row["templateName"] for row in rows} == {"Gerät", "Netzwerkgerät"}
    shown = [passportal.values(row["id"]) for row in rows]
    assert {label for values in shown for label in values} >= {"Seriennummer", "S/N", "IP-Adresse", "Standort"}
    assert {values["Status"] for values in shown if "Status" in values} == {"In Betrieb"}


def test_a_file_gives_labels_types_and_categories_in_several_templates(
    tenant_folder: Path, tmp_path: Path, own: Path
) -> None:
    passportal = opened(tmp_path / "pp", tenant_folder, own)
    rows = passportal.page(type="asset", resultsPerPage=1000)
    assert {row["templateId"] for row in rows} == {7, 8, 9}
    assert any("%20" in row["label"] for row in rows)
    kinds = {passportal.values(row["id"]).get("Kind") for row in rows if row["templateId"] == 9}
    assert "Drucker" in kinds
    assert "Printer" not in kinds


@pytest.mark.parametrize(
    ("details", "is_taken"),
    [
        ({"S-N": "12345"}, True),
        ({"S-N": "123456"}, False),
        ({}, False),
        ({"S-N": "1", "Bought": "2024-02-30"}, False),
        ({"S-N": "1", "Bought": "2024-02-29", "Height": "1.5", "Room": "B"}, True),
        ({"S-N": "1", "Height": "high"}, False),
        ({"S-N": "1", "Room": "C"}, False),
        ({"S-N": "1", "Serial Number": "1"}, False),
    ],
)
def test_a_value_that_does_not_fit_its_label_is_refused(
    tenant_folder: Path, tmp_path: Path, own: Path, details: dict[str, str], is_taken: bool
) -> None:
    passportal = opened(tmp_path / "pp", tenant_folder, own)
    client = passportal.page(type="asset")[0]["client_id"]
    new = {"templateUid": "tpl-7", "clientId": client, "title": "New", "details": details}
    assert (passportal.post(DOCUMENTS, json=[new]).status_code == 200) is is_taken


def test_the_templates_of_the_first_start_stay_with_the_documents(
    tenant_folder: Path, tmp_path: Path, own: Path
) -> None:
    first, switches = open_store(tmp_path / "pp", tenant_folder, own)
    own.unlink()
    again, switches_again = open_store(tmp_path / "pp", tenant_folder)
    assert (again.templates, switches_again) == (first.templates, switches)
    assert set(again.templates) == {7, 8, 9, 10, 11}


@pytest.mark.parametrize(
    "text", ["", "x", "[[template]]\nid = 1", OWN + "\n[more]\n", OWN.replace('"city"', '"town"'),
             OWN.replace('"date"', '"moment"'), OWN.replace("id = 8", "id = 7")]
)  # fmt: skip
def test_a_file_that_holds_no_templates_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "strange.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(TemplatesRefused, match=r"strange\.toml"):
        read_templates(file)
