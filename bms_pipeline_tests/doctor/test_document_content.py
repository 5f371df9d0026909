"""What differs between two readings of a document, and whose an edit is: for any document and any edit."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.doctor.document_content import MARK, differences, with_edits_kept

TEXTS = st.one_of(st.none(), st.text("aäß&<>;% \n", min_size=1, max_size=8).filter(lambda text: text.strip()))
LINKS = st.builds(
    lambda number, text: {"text": text, "id": number, "type": "locations"}, st.integers(1, 9), st.text("HQ", min_size=1)
)
KEYS = ("name_of_it", "notes", "location", "status", "asset_tag")


def element(label: str, value: Any, *, bare: bool) -> Any:
    if bare and not isinstance(value, dict):
        return value
    return {"name": label, "value": value if isinstance(value, dict) else {"type": "text", "text": value or ""}}


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    details = {
        key: element(key.replace("_", " ").title(), draw(st.one_of(TEXTS, LINKS)), bare=draw(st.booleans()))
        for key in draw(st.lists(st.sampled_from(KEYS), unique=True))
    }
    details |= {"tags": draw(st.lists(st.sampled_from(["one", "two"]), max_size=2))} if draw(st.booleans()) else {}
    return {"id": 7, "label": draw(st.text("ab", min_size=1)), "customId": draw(TEXTS), "details": details}


@given(rows())
def test_a_document_does_not_differ_from_itself_and_nothing_in_it_is_an_edit(row: dict[str, Any]) -> None:
    assert differences(row, copy.deepcopy(row)).labels == ()
    assert with_edits_kept(row, copy.deepcopy(row)) == (row, [])


@given(rows(), rows())
def test_what_is_kept_of_two_readings_is_found_in_one_of_them(before: dict[str, Any], now: dict[str, Any]) -> None:
    wanted, edited = with_edits_kept(before, now)

    for key, found in wanted["details"].items():
        assert found in (before["details"].get(key), now["details"].get(key))
    assert bool(edited) >= (wanted != before)
    assert with_edits_kept(wanted, now)[0] == wanted, "once more changes nothing"


@given(rows(), st.sampled_from(KEYS), st.integers(1, 300))
def test_a_text_of_the_trial_never_stays(row: dict[str, Any], key: str, length: int) -> None:
    now = copy.deepcopy(row)
    now["details"][key] = element(key.title(), f"{MARK} & more".ljust(length, "x"), bare=False)
    now["customId"] = MARK

    assert with_edits_kept(row, now) == (row, [])


@given(rows(), st.sampled_from(KEYS))
def test_a_text_of_a_person_always_stays_and_is_named(row: dict[str, Any], key: str) -> None:
    now = copy.deepcopy(row)
    now["details"][key] = element("What it is", "a person's own words", bare=False)

    wanted, edited = with_edits_kept(row, now)

    assert wanted["details"][key] == now["details"][key]
    assert len(edited) == 1
    assert set(wanted["details"]) == {*row["details"], key}


@given(rows(), st.sampled_from(KEYS))
def test_a_link_that_became_its_text_is_lost_and_put_back(row: dict[str, Any], key: str) -> None:
    link = {"text": "HQ", "id": 3, "type": "locations"}
    before = {**row, "details": {**row["details"], key: element("Place", link, bare=False)}}
    now = {**row, "details": {**row["details"], key: element("Place", "HQ", bare=False)}}

    assert differences(before, now).lost == ("Place",)
    assert with_edits_kept(before, now) == (before, [])


def test_the_same_words_in_another_form_are_reformatted_and_not_lost() -> None:
    plain = {"id": 1, "label": "x", "details": {"notes": element("Notes", "one\ntwo & three", bare=False)}}
    rich = {
        "id": 1,
        "label": "x",
        "details": {"notes": element("Notes", "<p>one</p><p>two &amp; three</p>", bare=False)},
    }

    found = differences(plain, rich)

    assert (found.lost, found.reformatted) == ((), ("Notes",))
