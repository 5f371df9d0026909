"""The wire's laws: nothing that was read is lost or told otherwise, and what is written reads as what was meant."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.passportal import documents_encoding as encoding
from bms_pipeline.passportal.documents_encoding import Dialect, Document

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


KEYS = encoding.keys_of(LABELS)


@given(documents(), DIALECTS, st.dictionaries(st.sampled_from(OURS), TEXTS | st.none()), st.none() | st.integers(1, 99))
def test_a_change_changes_what_it_names_and_leaves_all_else_as_it_was_read(
    row: dict[str, Any], dialect: Dialect, values: dict[str, str | None], marker: int | None
) -> None:
    before = encoding.decoded(row, KEYS)
    after = encoding.marked(encoding.with_values(before, before.title, values), marker, before.values, dialect)
    item = json.loads(json.dumps(encoding.merged(row, after, dialect)))

    ours = {"details", "title", "label", "customId", "templateUid", "clientId"}
    assert {key: value for key, value in item.items() if key not in ours} == {
        key: value for key, value in row.items() if key not in ours
    }
    shown = encoding.decoded(item, KEYS)
    blank = dict.fromkeys((*shown.values, *after.values), "")
    assert {**blank, **{k: v or "" for k, v in shown.values.items()}} == {
        **blank, **{k: v or "" for k, v in after.values.items()},
    }  # fmt: skip
    untouched = {label for label in before.values if (after.values[label] or "") == (before.values[label] or "")}
    assert encoding.lost(row, item, set(before.values) - untouched, KEYS) == [] or dialect.values == "text"
    if dialect.values == "element":
        for label in untouched:
            assert item["details"][before.keys[label]] == row["details"][before.keys[label]]


@given(documents(), DIALECTS)
def test_a_document_sent_back_without_a_change_reads_as_the_same(row: dict[str, Any], dialect: Dialect) -> None:
    before = encoding.decoded(row, KEYS)
    item = encoding.merged(row, before, dialect)
    again = encoding.decoded(item, KEYS)
    assert {k: v or "" for k, v in again.values.items()} == {k: v or "" for k, v in before.values.items()}
    assert (again.id, again.client_id, again.title, again.template_id, again.marker) == (
        before.id, before.client_id, before.title, before.template_id, before.marker,
    )  # fmt: skip


@given(DIALECTS, st.dictionaries(st.sampled_from(OURS), TEXTS.filter(bool)), st.integers(1, 10**18 - 1), st.booleans())
def test_a_new_document_reads_as_what_was_written_and_bears_its_marker(
    dialect: Dialect, values: dict[str, str], marker: int, positions: bool
) -> None:
    keys = {label: str(n) if positions else encoding.snake_case(label) for n, label in enumerate(LABELS)}
    meant = Document("", "11", "Acme", "79", "", values=values, keys=keys)
    item = encoding.new_document(encoding.marked(meant, marker, keys, dialect), dialect)
    by_key = {key: label for label, key in keys.items()}
    read = encoding.decoded(json.loads(json.dumps(item)), {**KEYS, **(by_key if dialect.values == "element" else {})})
    assert (read.marker, read.title, read.client_id, read.template_id) == (marker, "Acme", "11", "79")
    fields = {k: v for k, v in read.fields.items() if v and k not in (encoding.ID_LABEL, encoding.KIND_LABEL)}
    assert fields == values


@given(DIALECTS, DIALECTS, TEXTS.filter(lambda text: not encoding.marker_in("", {"Notes": text})), st.integers(1, 99))
def test_a_marker_moves_to_where_the_settings_want_it_and_goes_without_a_trace(
    first: Dialect, then: Dialect, notes: str, marker: int
) -> None:
    plain = Document("7", "11", "Acme", "79", "", values={"Notes": notes, "ID": None, "Integration Type": None})
    once = encoding.marked(plain, marker, LABELS, first)
    assert once.marker == marker
    assert (once.fields["Notes"] or "") == notes
    twice = encoding.marked(once, marker + 1, LABELS, then)
    assert twice.marker == marker + 1
    assert encoding.marked(once, marker, LABELS, then) == once, "it bears it already"
    gone = encoding.marked(twice, None, LABELS, first)
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
    ours = encoding.marked(theirs, 5, LABELS, Dialect(marker="id_fields"))
    assert (ours.values["ID"], ours.values["Notes"]) == ("17", "Kaseya BMS ID: 5")


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
    before = encoding.decoded(row)
    item = encoding.merged(row, replace(before, values={**before.values, "Phone": "2"}), Dialect(values="element"))
    assert [each["value"]["text"] for each in item["details"].values()] == ["2", "1"]


def test_what_a_document_lost_is_told_by_label_and_what_we_changed_is_not() -> None:
    """Also where an element comes bare one time and with its name the next."""
    link = {"text": "HQ", "id": 1, "type": "location"}
    before = {"phone": "1", "fax": "2", "location": {"name": "Location", "value": link}, "city": "Graz"}
    after = {"phone": None, "fax": {"name": "Fax", "value": ""}, "location": {"name": "Location", "value": "HQ"}}
    names = encoding.keys_of(["Phone", "Fax", "Location", "City"])
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
    assert encoding.is_own_marker_in(custom_id, values) is own
