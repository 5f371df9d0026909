"""The wire's laws: nothing that was read is lost or told otherwise, and what is written reads as what was meant."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from typing import Any, get_args, get_type_hints
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.passportal.documents import encoding
from bms_pipeline.passportal.documents.encoding import DetailsForm, Dialect, Document, Element

TEXTS = st.text(max_size=12) | st.sampled_from(["a\nb", "a\r\nb\r\n", "=1+1", "\ud800", "Kaseya BMS ID: x"])
LABELS = [
    "Name", "Phone", "Notes", "ID", "Integration Type", "State / Province", "Favourite Colour", "Email Address",
]  # fmt: skip
OURS = ["Name", "Phone", "Notes", "Email Address"]
DIALECTS = st.builds(
    Dialect,
    **{name: st.sampled_from(get_args(kind)) for name, kind in get_type_hints(Dialect).items()},
)
UNKNOWN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def elements(draw: st.DrawFn, label: str, bare: bool) -> Any:
    """One element in any form that was ever seen, or with something in it that nobody knows."""
    text = draw(TEXTS)
    if bare and draw(st.booleans()):
        return draw(st.sampled_from([text, None]))
    link = {"text": text, "id": draw(st.integers(1, 9)), "type": "location"}
    value = draw(st.sampled_from([{"type": "text", "text": text}, link, text, None]))
    element: dict[str, Any] = {"name": label, "value": value}
    if value is link:
        element["attribute"] = [link]
    if draw(st.booleans()):
        element |= {"description": draw(TEXTS), "colour": draw(UNKNOWN)}
    return element


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A document as the service sends it."""
    positions = draw(st.booleans())
    labels = draw(st.lists(st.sampled_from(LABELS), unique=True))
    details = {
        str(number) if positions else encoding.snake_case(label): draw(elements(label, not positions))
        for number, label in enumerate(labels)
    }
    known = {
        "id": 7, "label": draw(st.text(min_size=1, max_size=5)), "client_id": 11, "templateId": 79, "customId": None,
        "last_modified": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return {**draw(st.dictionaries(st.text(min_size=9, max_size=12), UNKNOWN, max_size=3)), **known, "details": details}


NAMES = {encoding.snake_case(label): label for label in LABELS}


@given(documents(), DIALECTS, st.dictionaries(st.sampled_from(OURS), TEXTS | st.none()), st.none() | st.integers(1, 99))
def test_a_change_changes_what_it_names_and_leaves_all_else_as_it_was_read(
    row: dict[str, Any], dialect: Dialect, values: dict[str, str | None], marker: int | None
) -> None:
    before = encoding.decoded_document(row, LABELS, NAMES)
    plain = [label for label, place in before.elements.items() if place.form.is_plain]
    values = {label: text for label, text in values.items() if label in plain or label not in before.elements}
    after = encoding.marked(encoding.with_values(before, before.title, values), marker, plain.__contains__, dialect)
    item = json.loads(json.dumps(encoding.merged(row, before, after, dialect)))

    ours = {"details", "title", "label", "customId", "templateUid", "clientId"}
    assert {key: value for key, value in item.items() if key not in ours} == {
        key: value for key, value in row.items() if key not in ours
    }
    shown = encoding.decoded_document(item, LABELS, NAMES)
    blank = dict.fromkeys((*shown.values, *after.values), "")
    assert {**blank, **{k: v or "" for k, v in shown.values.items()}} == {
        **blank, **{k: v or "" for k, v in after.values.items()},
    }  # fmt: skip
    untouched = {label for label in before.values if (after.values[label] or "") == (before.values[label] or "")}
    assert encoding.lost(row, item, set(before.values) - untouched, NAMES) == [] or dialect.values == "text"
    if dialect.values == "element":
        for label in untouched:
            assert item["details"][before.elements[label].key] == row["details"][before.elements[label].key]


@given(documents(), DIALECTS)
def test_a_document_sent_back_without_a_change_reads_as_the_same(row: dict[str, Any], dialect: Dialect) -> None:
    before = encoding.decoded_document(row, LABELS, NAMES)
    item = encoding.merged(row, before, before, dialect)
    again = encoding.decoded_document(item, LABELS, NAMES)
    assert {k: v or "" for k, v in again.values.items()} == {k: v or "" for k, v in before.values.items()}
    assert (again.id, again.client_id, again.title, again.template_id, again.marker) == (
        before.id, before.client_id, before.title, before.template_id, before.marker,
    )  # fmt: skip


@given(DIALECTS, st.dictionaries(st.sampled_from(OURS), TEXTS.filter(bool)), st.integers(1, 10**18 - 1), st.booleans())
def test_a_new_document_reads_as_what_was_written_and_bears_its_marker(
    dialect: Dialect, values: dict[str, str], marker: int, positions: bool
) -> None:
    places = {
        label: Element(str(number) if positions else encoding.snake_case(label), label)
        for number, label in enumerate(LABELS)
    }
    meant = Document("", "11", "Acme", "79", "", values=values, elements=places)
    item = encoding.new_document(encoding.marked(meant, marker, places.__contains__, dialect), dialect)
    by_key = {place.key: label for label, place in places.items()}
    names = {**NAMES, **(by_key if dialect.values == "element" else {})}
    read = encoding.decoded_document(json.loads(json.dumps(item)), LABELS, names)
    assert (read.marker, read.title, read.client_id, read.template_id) == (marker, "Acme", "11", "79")
    fields = {k: v for k, v in read.fields.items() if v and k not in (encoding.ID_LABEL, encoding.KIND_LABEL)}
    assert fields == values


@given(DIALECTS, DIALECTS, TEXTS.filter(lambda text: not encoding.marker_in("", {"Notes": text})), st.integers(1, 99))
def test_a_marker_moves_to_where_the_settings_want_it_and_goes_without_a_trace(
    first: Dialect, then: Dialect, notes: str, marker: int
) -> None:
    plain = Document("7", "11", "Acme", "79", "", values={"Notes": notes, "ID": None, "Integration Type": None})
    once = encoding.marked(plain, marker, LABELS.__contains__, first)
    assert once.marker == marker
    assert (once.fields["Notes"] or "") == notes
    twice = encoding.marked(once, marker + 1, LABELS.__contains__, then)
    assert twice.marker == marker + 1
    assert encoding.marked(once, marker, LABELS.__contains__, then) == once, "it bears it already"
    gone = encoding.marked(twice, None, LABELS.__contains__, first)
    assert {k: v or None for k, v in gone.values.items()} == {k: v or None for k, v in plain.values.items()}
    assert gone.custom_id == ""


def test_new_notes_keep_the_line_that_marks_the_document() -> None:
    document = Document("7", "11", "PC", "79", "", values={"Notes": "Old.\nKaseya BMS ID: 5"})
    assert document.fields["Notes"] == "Old."
    changed = encoding.with_values(document, "PC", {"Notes": "New."})
    assert changed.values["Notes"] == "New.\nKaseya BMS ID: 5"
    assert encoding.with_values(document, "PC", {"Notes": None}).values["Notes"] == "Kaseya BMS ID: 5"


@pytest.mark.parametrize(
    ("notes", "marker", "text"),
    [
        ("Kaseya BMS ID: 5", 5, ""),
        ("Ring first.\r\nKaseya BMS ID: 5\r\n", 5, "Ring first.\r\n"),
        ("Kaseya BMS ID: 5\nadded below by a person", 5, "added below by a person"),
        ("Kaseya BMS ID: 4\nKaseya BMS ID: 5", 5, "Kaseya BMS ID: 4"),
        ("see Kaseya BMS ID: 5", None, "see Kaseya BMS ID: 5"),
        ("Kaseya BMS ID: 5a", None, "Kaseya BMS ID: 5a"),
        ("Kaseya BMS ID: ٥", None, "Kaseya BMS ID: ٥"),
    ],
)
def test_a_marker_in_notes_is_a_line_of_its_own(notes: str, marker: int | None, text: str) -> None:
    assert encoding.marker_in("", {"Notes": notes}) == marker
    assert encoding.without_marker(notes) == text


def test_another_systems_id_is_never_overwritten_and_never_read_as_ours() -> None:
    theirs = Document("7", "11", "PC", "79", "", values={"ID": "17", "Integration Type": "Some RMM", "Notes": None})
    assert theirs.marker is None
    ours = encoding.marked(theirs, 5, LABELS.__contains__, Dialect(marker="id_fields"))
    assert (ours.values["ID"], ours.values["Notes"]) == ("17", "Kaseya BMS ID: 5")


def test_a_number_that_others_wrote_for_kaseya_bms_is_a_claim_and_no_marker() -> None:
    """F6: Passportal's own integrations fill these two fields, with whatever number."""
    theirs = Document("7", "11", "PC", "79", "", values={"ID": "17", "Integration Type": "kaseya bms ", "Notes": None})
    assert (theirs.marker, theirs.claim) == (None, 17)
    for marker in ("notes", "id_fields"):
        ours = encoding.marked(theirs, 5, LABELS.__contains__, Dialect(marker=marker))
        assert (ours.values["ID"], ours.marker, ours.claim) == ("17", 5, 17), "what they wrote stays"
    own = encoding.marked(
        replace(theirs, values={"ID": "", "Integration Type": ""}), 5, LABELS.__contains__, Dialect(marker="id_fields")
    )
    assert (own.marker, own.claim) == (5, None)


# Labels


@pytest.mark.parametrize(
    "spelled",
    [
        "Zip / Postal Code", "ZIP/Postal Code", " ZIP  /  Postal\u00a0Code: ", "zip_/_postal_code",
        "ZIP &#47; Postal Code", "ＺＩＰ / Postal Code *",
    ],
)  # fmt: skip
@pytest.mark.parametrize("values", ["text", "element"])
def test_a_label_is_known_however_it_is_spelt_and_written_as_it_is(spelled: str, values: str) -> None:
    """F5: the vendor's own sample spells a label otherwise than its template."""
    element = {"name": spelled, "value": {"type": "text", "text": "8010"}}
    row = {"id": 1, "label": "A", "client_id": 2, "templateId": 3, "details": {"zip": element}}
    before = encoding.decoded_document(row, ["ZIP / Postal Code"])
    assert before.values["ZIP / Postal Code"] == "8010"
    after = encoding.with_values(before, "A", {"ZIP / Postal Code": "8020"})
    item = encoding.merged(row, before, after, Dialect(values=values))  # type: ignore[arg-type]
    wanted = (
        {"zip": {**element, "value": {"type": "text", "text": "8020"}}} if values == "element" else {spelled: "8020"}
    )
    assert item["details"] == wanted


# Forms of elements


@pytest.mark.parametrize(
    ("element", "form", "text"),
    [
        ({"name": "X", "value": {"type": "text", "text": "a"}}, DetailsForm.TEXT, "a"),
        ({"name": "X", "value": {"type": "Text Area", "text": ""}}, DetailsForm.EMPTY, ""),
        ("a", DetailsForm.TEXT, "a"),
        (None, DetailsForm.EMPTY, None),
        (5, DetailsForm.TEXT, "5"),
        ({"name": "X", "value": {"text": "HQ", "id": 7, "type": "location"}}, DetailsForm.LINK, "HQ"),
        ({"name": "X", "value": "HQ", "attribute": [{"id": 7}]}, DetailsForm.LINK, "HQ"),
        ({"name": "X", "value": {"type": "links", "text": ""}}, DetailsForm.LINK, ""),
        ({"name": "X", "value": True}, DetailsForm.YES_NO, "Yes"),
        ({"name": "X", "value": {"type": "checkbox", "text": "No"}}, DetailsForm.YES_NO, "No"),
        ({"name": "X", "value": {"type": "select", "text": "Active"}}, DetailsForm.CHOICE, "Active"),
        (
            {"name": "X", "value": {"type": "text", "text": "Active", "options": ["Active"]}},
            DetailsForm.CHOICE,
            "Active",
        ),
        ({"name": "X", "value": ["a", "b"]}, DetailsForm.CHOICE, "a, b"),
        ("Please Select", DetailsForm.CHOICE, None),
        ("-- Select --", DetailsForm.CHOICE, None),
        ("please select one...", DetailsForm.CHOICE, None),
        ("- Choose an option -", DetailsForm.CHOICE, None),
        ({"name": "X", "value": {"type": "text", "text": "<p>a</p><p>b &amp; c</p>"}}, DetailsForm.RICH, "a\nb & c"),
        ("a<br/>b", DetailsForm.RICH, "a\nb"),
        ({"name": "X", "value": {"type": "html", "text": "a"}}, DetailsForm.RICH, "a"),
        ("x < y and <script>", DetailsForm.TEXT, "x < y and <script>"),
        ({"name": "X", "value": {"type": "gauge", "text": "3"}}, DetailsForm.OTHER, "3"),
        ("Selected by Ann", DetailsForm.TEXT, "Selected by Ann"),
    ],
)
def test_what_an_element_holds_is_recognised(element: Any, form: DetailsForm, text: str | None) -> None:
    found = encoding.decoded_document({"details": {"x": element}})
    (label,) = found.elements
    assert (found.elements[label].form, found.values[label]) == (form, text)


@pytest.mark.parametrize(
    "notes",
    [
        "<p>Ring first.</p><p>Kaseya BMS ID: 5</p>", "Ring first.<br>Kaseya BMS ID: 5",
        "Ring first.<br/>\nKaseya BMS ID: 5", "<div>Ring first.</div><div>Kaseya BMS ID:&nbsp;5</div>",
        "<p>Ring first.<br />Kaseya BMS ID: 5</p>",
    ],
)  # fmt: skip
@pytest.mark.parametrize("values", ["text", "element"])
def test_a_marker_in_formatted_notes_is_found_moved_and_taken_off(notes: str, values: str) -> None:
    """F7: an editor keeps notes as HTML."""
    row = {
        "id": 1,
        "label": "A",
        "client_id": 2,
        "templateId": 3,
        "details": {"notes": {"name": "Notes", "value": notes}},
    }
    before = encoding.decoded_document(row)
    assert (before.marker, before.fields["Notes"]) == (5, "Ring first.")
    for marker in (6, None):
        after = encoding.marked(before, marker, ().__contains__, Dialect(values=values))  # type: ignore[arg-type]
        item = encoding.merged(row, before, after, Dialect(values=values))  # type: ignore[arg-type]
        again = encoding.decoded_document(item)
        assert (again.marker, again.fields["Notes"]) == (marker, "Ring first.")
        assert marker is None or again.elements["Notes"].form is DetailsForm.RICH, "it stays formatted"


# Titles


@given(st.lists(st.text(min_size=1, max_size=9).filter(str.strip), min_size=1, max_size=5))
def test_titles_that_a_service_encodes_are_known_by_having_no_bare_character(titles: list[str]) -> None:
    shown = [quote(html.escape(title), safe="") for title in titles]
    assert [encoding.decoded_name(title) for title in shown] == titles or any("&" in title for title in titles)
    assert encoding.titles_are_encoded(shown) or shown == titles


def test_one_title_that_was_stored_encoded_does_not_make_a_service_that_encodes() -> None:
    assert not encoding.titles_are_encoded(["Server Room", "Data%20Centre"])
    assert not encoding.titles_are_encoded(["PC-1", "PC-2"])


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("Acme%20%26amp%3B%20S%C3%B6hne", "Acme & Söhne"),
        ("O&#039;Neil", "O'Neil"),
        ("100% Pure", "100% Pure"),
        ("C++ Ltd", "C++ Ltd"),
        ("M&Region", "M&Region"),
        ("%E2%82%AC%20%3Cb%3E", "€ <b>"),
    ],
)
def test_names_of_clients_are_decoded_twice(sent: str, name: str) -> None:
    assert encoding.decoded_name(sent) == name


def test_two_elements_of_one_label_both_come_back() -> None:
    element = {"name": "Phone", "value": {"type": "text", "text": "1"}}
    row = {"id": 1, "label": "A", "client_id": 2, "templateId": 3, "details": {"0": element, "1": dict(element)}}
    before = encoding.decoded_document(row, ["Phone", "Fax"])
    after = replace(before, values={**before.values, "Fax": "2"})
    item = encoding.merged(row, before, after, Dialect(values="element"))
    assert [each["value"]["text"] for each in item["details"].values()] == ["1", "1", "2"]
    assert "Phone" not in before.values, "neither is taken for ours"


def test_what_a_document_lost_is_told_by_label_and_what_we_changed_is_not() -> None:
    """Also where an element comes bare one time and with its name the next."""
    link = {"text": "HQ", "id": 1, "type": "location"}
    before = {"phone": "1", "fax": "2", "location": {"name": "Location", "value": link}, "city": "Graz"}
    after = {"phone": None, "fax": {"name": "Fax", "value": ""}, "location": {"name": "Location", "value": "HQ"}}
    names = {encoding.snake_case(label): label for label in ("Phone", "Fax", "Location", "City")}
    found = encoding.lost({"details": before}, {"details": after}, {"Phone"}, names)
    assert found == ["Fax", "Location", "City"]


@pytest.mark.parametrize(
    ("custom_id", "values", "own"),
    [
        ("kaseya-bms:7", {}, True),
        ("", {"Notes": "Kaseya BMS ID: 7"}, True),
        ("", {"Notes": "by hand\r\nKaseya BMS ID: 7\r\nmore"}, True),
        ("", {"ID": "7", "Integration Type": "Kaseya BMS", "Notes": "Kaseya BMS ID: 8"}, True),
        ("", {"ID": "7", "Integration Type": "Kaseya BMS"}, False),
        ("7", {"ID": "7"}, False),
        ("kaseya-bms:x", {"Notes": "see Kaseya BMS ID: 7"}, False),
        ("", {}, False),
    ],
)
def test_only_forms_that_nobody_else_writes_prove_that_this_program_was_here(
    custom_id: str, values: dict[str, str | None], own: bool
) -> None:
    assert (encoding.marker_in(custom_id, values) is not None) is own


HQ = {"text": "HQ", "id": 103, "type": "location"}


@pytest.mark.parametrize("values", ["text", "element"])
@pytest.mark.parametrize(
    ("element", "value", "wanted", "sent"),
    [
        ({"name": "Site", "value": HQ, "attribute": [HQ]}, "#103", "#104", 104),
        ({"name": "Site", "value": HQ, "attribute": [HQ]}, "#103", None, None),
        ({"name": "Site", "value": {"text": "HQ", "type": "link"}, "attribute": [HQ]}, "#103", "#104", 104),
        ({"name": "Site", "value": {"text": "", "type": "link"}}, None, "#104", 104),
        ({"name": "Site", "value": {"text": "", "type": "text"}, "colour": "red"}, None, "#104", 104),
        (None, None, "#104", 104),
    ],
)
def test_a_link_is_read_and_changed_by_its_id_and_all_else_comes_back(
    values: Any, element: Any, value: str | None, wanted: str | None, sent: int | None
) -> None:
    row: dict[str, Any] = {"id": 7, "label": "Ann", "client_id": 11, "templateId": 5000, "details": {
        "site": element, "phone": {"name": "Phone", "value": {"type": "text", "text": "1"}},
    }}  # fmt: skip
    before = encoding.decoded_document(row, ["Site", "Phone"], links=["Site"])
    assert (before.values["Site"] or None) == value
    after = replace(
        before,
        values={**before.values, "Site": wanted},
        linked={"#104": encoding.LinkedDocument("Depot", "location")},
    )
    item = encoding.merged(row, before, after, Dialect(values=values))
    assert item["details"]["phone"] == row["details"]["phone"], "a link is an element, and so is the rest with it"
    site = item["details"]["site"]
    assert site["value"].get("id") == sent
    assert site.get("attribute") == ([site["value"]] if sent else None)
    assert {key: part for key, part in site.items() if key == "colour"} == (
        {"colour": "red"} if element and "colour" in element else {}
    )
    again = encoding.decoded_document({**row, "details": item["details"]}, ["Site", "Phone"], links=["Site"])
    assert (again.values.get("Site") or None) == wanted
    as_text = encoding.decoded_document({**row, "details": item["details"]}, ["Site", "Phone"])
    assert (as_text.values.get("Site") or None) == ("Depot" if wanted else None), "any other mapping reads its text"
