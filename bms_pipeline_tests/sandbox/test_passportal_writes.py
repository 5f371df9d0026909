"""Creating and changing documents in the stand-in for Passportal, in each form that it can be told to want."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline_tests.exploring import examples
from bms_pipeline_tests.sandbox.passportal_calling import DOCUMENTS, Stranger, stranger
from bms_sandbox.documents_api.behaviour import PassportalBehaviour
from bms_sandbox.documents_api.store import Link, Record, Value
from bms_sandbox.documents_api.templates import GENERIC_ASSET
from bms_sandbox.documents_api.wire import details, read_details

CLIENT = 10000001
NEW: dict[str, Any] = {"templateUid": "tpl-79", "clientId": CLIENT, "title": "New one"}


@pytest.fixture
def passportal(passportal_file: Path) -> Stranger:
    return stranger(passportal_file)


def titles(passportal: Stranger) -> list[str]:
    """Of the documents that were created, in order."""
    return [each["label"] for each in passportal.page(clientId=CLIENT, resultsPerPage=1000) if each["id"] >= 60000000]


def put_body(passportal: Stranger, document_id: int, **changes: Any) -> dict[str, Any]:
    """All that is needed to write a document back as it is, but for ``changes``."""
    read = passportal.document(document_id)
    return {
        "templateUid": f"tpl-{read['templateId']}",
        "clientId": read["client_id"],
        "title": read["label"],
        "description": read["description"],
        "details": {each["name"]: each["value"]["text"] for each in read["details"].values()},
        **changes,
    }


def test_creating_tells_no_ids_and_the_list_does(passportal: Stranger) -> None:
    passportal.clock.now += 100.9
    answer = passportal.post(DOCUMENTS, json=[{**NEW, "description": "d", "details": {"Serial Number": "SN1"}}, NEW])
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    first, second = passportal.page(clientId=CLIENT, searchTxt="New one")
    assert first["id"] < second["id"]
    assert (first["label"], first["description"], first["templateId"], first["type"], first["customId"]) == (
        "New one", "d", 79, "asset", None,
    )  # fmt: skip
    assert first["last_modified"] == "2027-01-15T08:01:40Z"
    assert (passportal.values(first["id"]), passportal.values(second["id"])) == ({"Serial Number": "SN1"}, {})


def test_creating_twice_makes_two(passportal: Stranger) -> None:
    for _ in range(2):
        passportal.post(DOCUMENTS, json=[NEW])
    assert titles(passportal) == ["New one", "New one"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": None},
        {"title": " "},
        {"title": 5},
        {"clientId": None},
        {"clientId": 50000001},
        {"clientId": 99},
        {"clientId": True},
        {"templateUid": None},
        {"templateUid": 1},
        {"templateUid": "tpl-1"},
        {"templateUid": "tpl-x"},
        {"details": []},
        {"details": {"Nothing Known": "x"}},
        {"details": {"Serial Number": 7}},
        {"description": 7},
    ],
)
def test_with_a_bad_document_a_batch_is_refused_whole_or_in_part(passportal: Stranger, wrong: dict[str, Any]) -> None:
    batch = [{**NEW, "title": "A"}, {**NEW, **wrong}, {**NEW, "title": "B"}]
    for switch, created in (("whole", []), ("partial", ["A", "B"])):
        passportal.behave(batch_refusal=switch)
        answer = passportal.post(DOCUMENTS, json=batch)
        assert (answer.status_code, answer.json()["success"]) == (400, False)
        assert answer.json()["message"].startswith("document 2: ")
        assert titles(passportal) == created


@pytest.mark.parametrize(("switch", "other"), [("array", "object"), ("object", "array")])
def test_a_batch_comes_in_one_form(passportal: Stranger, switch: str, other: str) -> None:
    forms: dict[str, Any] = {"array": [NEW], "object": {"documents": [NEW]}}
    passportal.behave(body=switch)
    assert passportal.post(DOCUMENTS, json=forms[other]).status_code == 400
    assert titles(passportal) == []
    assert passportal.post(DOCUMENTS, json=forms[switch]).status_code == 200
    assert titles(passportal) == ["New one"]


@pytest.mark.parametrize("body", [[], {}, "text", None, [5], {"documents": 5}])
@pytest.mark.parametrize("switch", ["array", "object"])
def test_what_is_no_batch_is_refused(passportal: Stranger, switch: str, body: object) -> None:
    passportal.behave(body=switch)
    assert passportal.post(DOCUMENTS, json=body).status_code == 400
    assert passportal.post(DOCUMENTS, content=b"{").status_code == 400


def element(key: str, label: str, text: str) -> dict[str, Any]:
    return {key: {"name": label, "value": {"type": "text", "text": text}}}


FORMS: dict[tuple[str, str], dict[str, Any]] = {
    ("text", "keys"): {"Serial Number": "SN"},
    ("text", "positions"): {"Serial Number": "SN"},
    ("element", "keys"): element("serial_number", "Serial Number", "SN"),
    ("element", "positions"): element("3", "Serial Number", "SN"),
}


@pytest.mark.parametrize("wanted", FORMS)
@pytest.mark.parametrize("sent", FORMS)
def test_values_come_in_one_form(passportal: Stranger, wanted: tuple[str, str], sent: tuple[str, str]) -> None:
    passportal.behave(values=wanted[0], details_form=wanted[1])
    answer = passportal.post(DOCUMENTS, json=[{**NEW, "details": FORMS[sent]}])
    fits = FORMS[wanted] == FORMS[sent]
    assert answer.status_code == (200 if fits else 400)
    assert [passportal.values(each["id"]) for each in passportal.page(searchTxt="New one")] == (
        [{"Serial Number": "SN"}] if fits else []
    )


@pytest.mark.parametrize("key", ["Serial Number", "serial_number"])
def test_a_text_may_be_named_by_the_key_that_bare_values_are_read_by(passportal: Stranger, key: str) -> None:
    passportal.post(DOCUMENTS, json=[{**NEW, "details": {key: "SN"}}])
    assert passportal.values(60000000) == {"Serial Number": "SN"}


def test_an_element_must_bear_its_label(passportal: Stranger) -> None:
    passportal.behave(values="element")
    for wrong in (
        element("serial_number", "Model", "SN"),
        {"serial_number": {"value": {"type": "text", "text": "SN"}}},
        {"serial_number": {"name": "Serial Number", "value": {"text": "SN"}}},
        {"serial_number": "SN"},
    ):
        assert passportal.post(DOCUMENTS, json=[{**NEW, "details": wrong}]).status_code == 400
    passportal.behave(bare_values=True)
    assert passportal.post(DOCUMENTS, json=[{**NEW, "details": {"serial_number": "SN"}}]).status_code == 200


def test_an_update_drops_what_is_left_out(passportal: Stranger) -> None:
    full = {"description": "d", "details": {"Hostname": "H", "Install Date": "2020-01-02", "Serial Number": "SN"}}
    passportal.post(DOCUMENTS, json=[{**NEW, **full}])
    answer = passportal.put(60000000, {**NEW, "title": "Newer", "details": {"Serial Number": "SN2"}})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert passportal.values(60000000) == {"Serial Number": "SN2"}
    assert [passportal.document(60000000)[each] for each in ("label", "description")] == ["Newer", None]
    passportal.put(60000000, NEW)
    assert passportal.values(60000000) == {}


def test_an_update_that_sends_all_back_changes_nothing_but_its_time(passportal: Stranger) -> None:
    for row in passportal.all_pages()[::4]:  # of every template some
        before = passportal.document(row["id"])
        assert passportal.put(row["id"], put_body(passportal, row["id"])).status_code == 200
        after = passportal.document(row["id"])
        assert after.pop("last_modified") > before.pop("last_modified")
        assert after == before


@pytest.mark.parametrize("wrong", [{"title": None}, {"title": ""}, {"clientId": None}, {"clientId": "x"}])
def test_an_update_needs_title_and_client(passportal: Stranger, wrong: dict[str, Any]) -> None:
    before = passportal.document(50000001)
    body = put_body(passportal, 50000001, **wrong)
    for each in (body, {name: value for name, value in body.items() if name not in wrong}):
        assert passportal.put(50000001, each).status_code == 400
    assert passportal.document(50000001) == before


def test_an_update_moves_no_document_to_another_client_or_template(passportal: Stranger) -> None:
    before = passportal.document(50000001)
    other = next(each["id"] for each in passportal.page(f"{DOCUMENTS}/clients") if each["id"] != before["client_id"])
    for wrong in ({"clientId": other}, {"templateUid": "tpl-5000"}):
        assert passportal.put(50000001, put_body(passportal, 50000001, **wrong)).status_code == 400
    assert passportal.document(50000001) == before


def test_an_update_of_what_is_not_there_is_not_found(passportal: Stranger) -> None:
    assert passportal.put(1, NEW).json()["message"] == "not found."
    assert passportal.put(CLIENT, NEW).status_code == 403


@pytest.mark.parametrize("body", ["array", "object"])
def test_documents_are_updated_one_by_one_or_in_batches(passportal: Stranger, body: str) -> None:
    changed = {**put_body(passportal, 50000001, title="Changed"), "id": 50000001}
    batch: Any = [changed] if body == "array" else {"documents": [changed]}
    passportal.behave(body=body, update="one")
    assert passportal.request("PUT", DOCUMENTS, json=batch).status_code == 405
    passportal.behave(update="batch")
    assert passportal.put(50000001, changed).status_code == 405
    assert passportal.document(50000001)["label"] != "Changed"
    assert passportal.request("PUT", DOCUMENTS, json=batch).json() == {"success": True}
    assert passportal.document(50000001)["label"] == "Changed"


def test_a_custom_id_is_kept_only_if_it_is_writable(passportal: Stranger) -> None:
    for switch, kept in ((False, None), (True, "kaseya-bms:7")):
        passportal.behave(custom_id_writable=switch)
        body = put_body(passportal, 50000001, customId="kaseya-bms:7")
        assert passportal.put(50000001, body).status_code == 200
        assert passportal.document(50000001)["customId"] == kept
    passportal.put(50000001, put_body(passportal, 50000001))
    assert passportal.document(50000001)["customId"] is None
    passportal.post("/sandbox/edit", json={"id": 50000001, "custom_id": "CI-1"})
    passportal.behave(custom_id_writable=False)
    passportal.put(50000001, put_body(passportal, 50000001))
    assert passportal.document(50000001)["customId"] == "CI-1"


def test_a_link_stays_one_while_its_text_does(passportal: Stranger) -> None:
    contacts = (passportal.document(each["id"]) for each in passportal.all_pages(type="contact"))
    linked = next(each for each in contacts if "id" in each["details"]["location"]["value"])
    passportal.put(linked["id"], put_body(passportal, linked["id"]))
    assert passportal.document(linked["id"])["details"]["location"] == linked["details"]["location"]
    body = put_body(passportal, linked["id"])
    body["details"]["Location"] = "Elsewhere"
    passportal.put(linked["id"], body)
    assert passportal.document(linked["id"])["details"]["location"]["value"] == {"type": "text", "text": "Elsewhere"}


def test_a_label_that_the_tenant_lacks_cannot_be_written(passportal: Stranger) -> None:
    passportal.behave(missing_labels={"Generic Asset": ["Serial Number"]})
    assert passportal.post(DOCUMENTS, json=[{**NEW, "details": {"Serial Number": "SN"}}]).status_code == 400
    assert passportal.post(DOCUMENTS, json=[{**NEW, "details": {"Model": "M"}}]).status_code == 200


VALUES = st.dictionaries(
    st.sampled_from(GENERIC_ASSET.labels),
    st.text(min_size=1) | st.builds(Link, st.text(min_size=1), st.integers(1, 99), st.just("location")),
)


@examples(50, 1000)
@given(values=VALUES, form=st.sampled_from(["keys", "positions"]), bare=st.booleans())
def test_elements_sent_back_as_they_were_read_change_nothing(values: dict[str, Value], form: str, bare: bool) -> None:
    behaviour = PassportalBehaviour().changed({"values": "element", "details_form": form, "bare_values": bare})
    read = details(Record(1, "asset", "x", 0, values, template=GENERIC_ASSET.id), GENERIC_ASSET, behaviour)
    assert read_details(read, {}, GENERIC_ASSET, behaviour) == values


# Free templates


def test_a_tenants_template_takes_what_it_says_and_refuses_the_rest(passportal: Stranger) -> None:
    passportal.behave(
        added_labels={"Generic Asset": ["Colour"]},
        label_types={"Generic Asset": {"Platform": "boolean", "Location": "link"}},
        label_options={"Generic Asset": {"Status": ["Active", "Retired"]}},
        required_labels={"Generic Asset": ["Model"]},
        spelled_labels={"Generic Asset": {"Primary IP": "IP-Address:"}},
    )
    good = {"Model": "M", "Colour": "red", "Status": "Active", "Platform": True, "IP-Address:": "10.0.0.1"}
    assert passportal.post(DOCUMENTS, json=[{**NEW, "details": good}]).status_code == 200
    for wrong in ({"Model": ""}, {"Status": "Sold"}, {"Platform": "perhaps"}, {"Location": "HQ"}, {"Primary IP": "1"}):
        answer = passportal.post(DOCUMENTS, json=[{**NEW, "details": {**good, **wrong}}])
        assert answer.status_code == 400, wrong
    (made,) = passportal.page(clientId=CLIENT, searchTxt="New one")
    shown = passportal.document(made["id"])["details"]
    assert shown["colour"]["value"] == {"type": "text", "text": "red"}
    assert shown["status"]["value"] == {"type": "select", "text": "Active", "options": ["Active", "Retired"]}
    assert shown["platform"]["value"] == {"type": "boolean", "text": True}
    assert shown["ip-address:"]["name"] == "IP-Address:"


def test_a_template_that_was_deleted_makes_no_document_and_blanks_can_be_left_out(passportal: Stranger) -> None:
    passportal.behave(deleted_templates=["Generic Asset"])
    assert passportal.post(DOCUMENTS, json=[NEW]).status_code == 400
    passportal.behave(deleted_templates=[], blanks="left out", notes_as_html=True, encoded_titles=True)
    assert passportal.post(DOCUMENTS, json=[{**NEW, "details": {"Notes": "a\n<b>"}}]).status_code == 200
    (made,) = passportal.page(clientId=CLIENT, searchTxt="New one")
    assert made["label"] == "New%20one"
    assert passportal.document(made["id"])["details"]["notes"]["value"]["text"] == "<p>a</p><p>&lt;b&gt;</p>"
    assert list(passportal.document(made["id"])["details"]) == ["notes"]


@pytest.mark.parametrize(("ids", "status"), [("prefixed", (200, 400)), ("bare", (400, 200)), ("either", (200, 200))])
def test_a_template_is_named_in_the_form_that_is_switched_on(
    passportal: Stranger, ids: str, status: tuple[int, int]
) -> None:
    passportal.behave(template_uids=ids)
    made = [passportal.post(DOCUMENTS, json=[{**NEW, "templateUid": uid}]) for uid in ("TPL-79", "79")]
    assert tuple(each.status_code for each in made) == status
