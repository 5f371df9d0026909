"""What the stand-in for Passportal lists and shows, as the reference has it."""

from __future__ import annotations

import html
import json
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import pytest

from bms_pipeline_tests.sandbox.passportal_calling import DOCUMENTS, Stranger, stranger

ROW = {
    "id", "organization_id", "label", "description", "client_id", "clientName", "customId", "templateId",
    "templateName", "type", "accessible", "last_modified",
}  # fmt: skip


@pytest.fixture
def passportal(passportal_file: Path) -> Stranger:
    return stranger(passportal_file)


def held(tenant_folder: Path, entity: str) -> list[dict[str, str | None]]:
    lines = (tenant_folder / "passportal" / f"{entity}.ndjson").read_text().splitlines()
    return [json.loads(each) for each in lines]


@pytest.mark.parametrize("kind", ["asset", "contact", "location"])
def test_every_record_of_the_tenant_is_listed_once(passportal: Stranger, tenant_folder: Path, kind: str) -> None:
    rows = passportal.all_pages(type=kind, size=7)
    expected = {
        (int(each["passportal_id"] or 0), int(each["client_id"] or 0), each["name"])
        for each in held(tenant_folder, f"{kind}s")
    }
    assert len(rows) == len(expected)
    assert {(each["id"], each["client_id"], each["label"]) for each in rows} == expected
    assert {each["type"] for each in rows} == {kind}


def test_a_row_has_the_fields_that_were_seen_and_no_values(passportal: Stranger) -> None:
    row = passportal.page(type="contact", resultsPerPage=1)[0]
    assert set(row) == ROW
    assert (row["templateId"], row["templateName"], row["last_modified"]) == (5000, "Contact", "2023-11-14T22:13:20Z")


def test_documents_are_of_several_templates_and_types(passportal: Stranger) -> None:
    templates = Counter((each["type"], each["templateId"]) for each in passportal.all_pages())
    assert set(templates) == {
        ("asset", 79), ("asset", 113), ("contact", 5000), ("location", 5001), ("ssl", 212), ("vendor", 340),
    }  # fmt: skip
    assert len(passportal.all_pages(templateUid="tpl-113")) == templates["asset", 113]
    assert passportal.all_pages(templateUid="113") == passportal.all_pages(templateUid="TPL-113")
    assert passportal.page(templateUid="114") == []
    passportal.behave(template_ids="uid")
    assert {each["templateId"] for each in passportal.all_pages(type="contact")} == {"tpl-5000"}


def test_a_list_can_be_narrowed_to_a_client_and_to_a_text(passportal: Stranger) -> None:
    everything = passportal.all_pages()
    client = everything[0]["client_id"]
    assert passportal.all_pages(clientId=client) == [each for each in everything if each["client_id"] == client]
    assert passportal.page(clientId=1) == []
    text = everything[0]["label"][:4].upper()
    assert passportal.all_pages(searchTxt=text) == [
        each for each in everything if text.casefold() in each["label"].casefold()
    ]


def test_a_list_is_ordered_as_asked(passportal: Stranger) -> None:
    ids = [each["id"] for each in passportal.all_pages(type="asset")]
    assert ids == sorted(ids)
    assert [each["id"] for each in passportal.all_pages(type="asset", orderDir="desc")] == ids[::-1]
    labels = [each["label"].casefold() for each in passportal.all_pages(type="asset", orderBy="label")]
    assert labels == sorted(labels)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"pageNum": 0}, 404),
        ({"pageNum": 10000}, 404),
        ({"pageNum": "x"}, 404),
        ({"resultsPerPage": 0}, 400),
        ({"resultsPerPage": "x"}, 400),
        ({"orderBy": "age"}, 400),
        ({"orderDir": "up"}, 400),
        ({"type": "user"}, 400),
        ({"clientId": "x"}, 400),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(passportal: Stranger, query: dict[str, object], status: int) -> None:
    answer = passportal.get(DOCUMENTS, query)
    assert (answer.status_code, answer.json()["success"], answer.json()["status"]) == (status, False, status)


def test_the_page_behind_the_last_is_empty_or_null(passportal: Stranger) -> None:
    for switch, results in (("empty", []), ("null", None)):
        passportal.behave(end_of_pages=switch)
        for path in (DOCUMENTS, f"{DOCUMENTS}/clients"):
            assert passportal.get(path, {"pageNum": 9999}).json() == {"success": True, "results": results}


def test_a_page_has_no_more_rows_than_the_cap(passportal: Stranger) -> None:
    assert len(passportal.page(resultsPerPage=5000)) > 100
    passportal.behave(page_cap=10)
    assert len(passportal.page(resultsPerPage=5000)) == 10
    assert [each["id"] for each in passportal.page(resultsPerPage=5000, pageNum=2)] == [
        each["id"] for each in passportal.page(resultsPerPage=10, pageNum=2)
    ]


def test_documents_are_listed_at_one_of_two_paths_or_at_both(passportal: Stranger) -> None:
    for switch, statuses in (("both", (200, 200)), ("documents", (200, 404)), ("all", (404, 200))):
        passportal.behave(list_path=switch)
        assert (
            passportal.get(DOCUMENTS).status_code,
            passportal.get(f"{DOCUMENTS}/all").status_code,
        ) == statuses


def test_clients_are_listed_with_names_that_are_encoded_or_not(passportal: Stranger, tenant_folder: Path) -> None:
    expected = {(int(each["passportal_id"] or 0), each["name"]) for each in held(tenant_folder, "clients")}
    passportal.post("/sandbox/edit", json={"id": 10000001, "title": "Müller & Sons <100%> + Co"})
    expected = {each for each in expected if each[0] != 10000001} | {(10000001, "Müller & Sons <100%> + Co")}
    encoded = passportal.all_pages(f"{DOCUMENTS}/clients", size=5)
    assert {tuple(each) for each in encoded} == {("id", "name")}
    assert encoded[0]["name"] == "M%C3%BCller%20%26amp%3B%20Sons%20%26lt%3B100%25%26gt%3B%20%2B%20Co"
    assert {(each["id"], html.unescape(unquote(each["name"]))) for each in encoded} == expected
    passportal.behave(encoded_names=False)
    assert {(each["id"], each["name"]) for each in passportal.all_pages(f"{DOCUMENTS}/clients")} == expected


def test_a_document_shows_every_label_of_its_template_by_keys_or_by_positions(passportal: Stranger) -> None:
    by_key = passportal.document(30000001)
    assert ROW | {"details", "success"} == set(by_key)
    assert list(by_key["details"]) == [
        "name", "address_1", "address_2", "city", "state_/_province", "zip_/_postal_code", "country", "phone", "fax",
        "notes",
    ]  # fmt: skip
    assert by_key["details"]["name"]["value"] == {"type": "text", "text": by_key["label"]}
    assert set(by_key["details"]["name"]) == {"name", "description", "value"}
    passportal.behave(details_form="positions")
    by_position = passportal.document(30000001)["details"]
    assert list(by_position) == [str(number) for number in range(10)]
    assert list(by_position.values()) == list(by_key["details"].values())


def test_some_values_are_bare(passportal: Stranger) -> None:
    contact = passportal.record(type="contact", id="40000003")
    passportal.behave(bare_values=True)
    elements = passportal.document(40000003)["details"]
    kinds = {type(each).__name__ for each in elements.values()}
    assert kinds == {"NoneType", "str", "dict"}
    texts = {key: each if isinstance(each, str) else each["value"]["text"] for key, each in elements.items() if each}
    assert texts == {label.lower().replace(" ", "_"): text for label, text in contact["details"].items()}
    passportal.behave(details_form="positions")
    values = [each["value"] for each in passportal.document(40000003)["details"].values()]
    assert {type(each).__name__ for each in values} == {"NoneType", "str", "dict"}


def test_a_value_can_be_a_link_to_another_document(passportal: Stranger) -> None:
    contacts = [passportal.document(each["id"]) for each in passportal.all_pages(type="contact")]
    links = [each["details"]["location"] for each in contacts if "id" in each["details"]["location"]["value"]]
    assert 0 < len(links) < len(contacts)
    for each in links:
        assert each["attribute"] == [each["value"]]
        site = passportal.document(each["value"]["id"])
        assert (site["type"], site["label"]) == (each["value"]["type"], each["value"]["text"])


def test_a_document_stands_below_results_or_beside_success(passportal: Stranger) -> None:
    allow_duplicate = passportal.get(f"{DOCUMENTS}/50000001").json()
    passportal.behave(one_document="results")
    below = passportal.get(f"{DOCUMENTS}/50000001").json()
    assert set(below) == {"success", "results"}
    assert allow_duplicate == {"success": True, **below["results"]}


@pytest.mark.parametrize(
    ("document_id", "status", "message"),
    [("1", 403, "not found."), ("10000001", 403, "not found."), ("x", 400, "invalid id")],
)
def test_what_is_no_document_is_not_found(passportal: Stranger, document_id: str, status: int, message: str) -> None:
    answer = passportal.get(f"{DOCUMENTS}/{document_id}")
    assert (answer.status_code, answer.json()["message"]) == (status, message)


@pytest.mark.parametrize("path", [DOCUMENTS, f"{DOCUMENTS}/50000001", f"{DOCUMENTS}/clients", f"{DOCUMENTS}/all"])
@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
def test_nothing_is_deleted_or_patched(passportal: Stranger, method: str, path: str) -> None:
    answer = passportal.request(method, path)
    assert answer.status_code == 405
    assert answer.json() == {"success": False, "message": "Method not allowed.", "code": 3000, "status": 405}


def test_a_path_that_the_api_does_not_have_is_not_found(passportal: Stranger) -> None:
    assert passportal.get("/api/v2/users").json() == {
        "success": False, "message": "Not Found", "code": 404, "status": 404,
    }  # fmt: skip


def test_a_new_document_is_missing_from_as_many_lists_as_is_switched(passportal: Stranger) -> None:
    passportal.behave(listed_after=2)
    new = {"templateUid": "tpl-79", "clientId": 10000001, "title": "Late"}
    passportal.post(DOCUMENTS, json=[new])
    assert [len(passportal.page(searchTxt="Late")) for _ in range(4)] == [0, 0, 1, 1]
    assert passportal.document(int(passportal.record(title="Late")["id"]))["label"] == "Late"


def test_a_tenant_can_lack_a_label(passportal: Stranger) -> None:
    passportal.behave(missing_labels={"Contact": ["Job Title"]})
    assert "job_title" not in passportal.document(40000001)["details"]
    assert "type" in passportal.document(50000001)["details"]
