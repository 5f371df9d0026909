"""Stand-ins of values: the keys that matching compares are equal exactly where they were, and junk stays junk."""

from __future__ import annotations

import re
from datetime import date, datetime
from itertools import combinations

import duckdb
from hypothesis import example, given
from hypothesis import strategies as st

from bms_pipeline.core import junk
from bms_pipeline.core.entities import CONTACTS, ENTITIES
from bms_pipeline.support.values import How, Ids, Values, how_to_replace
from bms_pipeline.warehouse import names

KEY = bytes(range(32))
CONNECTION = duckdb.connect()
names.register_functions(CONNECTION)
_PHONE_CLUE = next(field.clue for field in CONTACTS.fields if field.name == "phone")

EMAIL = st.one_of(
    st.from_regex(r"[a-z]{1,6}([._-][a-z0-9]{1,4})?@[a-z]{2,8}\.(com|co\.uk|example|de)", fullmatch=True),
    st.sampled_from((
        "noreply@contoso.com", "NoReply@Contoso.com", "none@none.com", "anna@example.com", "ask Peter", "@contoso.com",
        "Anna.Smith@Contoso.COM", " anna.smith@contoso.com ", "peter.pan@", "test@fabrikam.de", "n/a", "",
    )),
)  # fmt: skip
PHONE = st.one_of(
    st.from_regex(r"(\+[1-9][0-9]|0)? ?[0-9]{2,4}[ -][0-9]{4,7}( (x|ext\. )[0-9]{2})?", fullmatch=True),
    st.sampled_from(("5550123", "+43 1 5550123", "(01) 555-0123 x12", "12345678", "0000000", "call Max 5550123", "12")),
)
SERIAL = st.one_of(
    st.from_regex(r"[A-Z0-9]{2,10}(-[a-z0-9]{1,4})?", fullmatch=True),
    st.sampled_from((
        "To be filled by O.E.M.", "N/A", "00000000", "1234567", "SN1234567", "5CD1234XYZ", "5cd-1234-xyz", "PETERSPC",
        "BCDFGHJ", "System Serial Number", "AAAAAA1", "ABC1234", "SN: N/A 83771",
    )),
)  # fmt: skip


def values_of(how: How, found: list[str]) -> dict[str, str]:
    values = Values(KEY, {how: found})
    return {value: values.stand_in(how, value) or "" for value in found}


def asked(expression: str, column: str, found: list[str]) -> list[str | bool | None]:
    """What SQL makes of each value in a column."""
    rows = CONNECTION.execute(
        f"SELECT {expression} FROM (SELECT unnest($found::VARCHAR[]) AS {column})", {"found": found}
    ).fetchall()
    return [row[0] for row in rows]


def equal_pairs(keys: list[str | bool | None]) -> list[bool]:
    return [one is not None and one == other for one, other in combinations(keys, 2)]


@given(st.lists(EMAIL, min_size=1, max_size=8, unique=True))
@example(["noreply@contoso.com", "anna@contoso.com", "anna@example.com", "ask Peter", "peter.pan@", "@contoso.com"])
def test_two_email_addresses_are_equal_exactly_if_their_stand_ins_are(emails: list[str]) -> None:
    found = list(values_of(How.EMAIL, emails).values())
    key = CONTACTS.keys["email_key"]
    assert equal_pairs(asked(key, "email", emails)) == equal_pairs(asked(key, "email", found)), found
    host = f"split_part({key}, '@', 2)"
    assert equal_pairs(asked(host, "email", emails)) == equal_pairs(asked(host, "email", found)), found
    is_junk = junk.is_junk(junk.Kind.EMAIL, "email")
    assert asked(is_junk, "email", emails) == asked(is_junk, "email", found)


@given(st.lists(PHONE, min_size=1, max_size=8, unique=True))
@example(["5550123", "+43 1 5550123", "(01) 555-0123 x12", "12345678"])
def test_two_phone_numbers_end_alike_exactly_if_their_stand_ins_do(phones: list[str]) -> None:
    assert _PHONE_CLUE is not None
    found = list(values_of(How.PHONE, phones).values())
    before, after = (asked(_PHONE_CLUE.key, "phone", values) for values in (phones, found))
    assert [key is None for key in before] == [key is None for key in after], found
    assert _alike(before) == _alike(after), found


@given(st.lists(SERIAL, min_size=1, max_size=8, unique=True))
def test_two_serial_numbers_are_equal_exactly_if_their_stand_ins_are_and_doubts_stay(serials: list[str]) -> None:
    found = list(values_of(How.SERIAL, serials).values())
    for which in (0, 1):
        before, after = ([junk.serial_keys(serial)[which] for serial in values] for values in (serials, found))
        assert [key is None for key in before] == [key is None for key in after], found
        assert equal_pairs(list(before)) == equal_pairs(list(after)), found


def test_a_placeholder_of_many_machines_stays_as_it_is_and_a_word_of_its_owner_does_not() -> None:
    found = values_of(How.SERIAL, ["To be filled by O.E.M.", "00000000", "N/A", "PETERSPC"])
    assert [found[serial] for serial in ("To be filled by O.E.M.", "00000000", "N/A")] == [
        "To be filled by O.E.M.", "00000000", "N/A",
    ]  # fmt: skip
    assert "PETER" not in found["PETERSPC"]
    assert Values(KEY, {How.TEXT: ["to be filled by Peter"]}).stand_in(How.TEXT, "to be filled by Peter") not in (
        "to be filled by Peter", None,
    )  # fmt: skip


@given(st.lists(SERIAL, min_size=1, max_size=8, unique=True))
def test_no_part_of_a_stand_in_is_the_serial_number_of_a_record_outside(serials: list[str]) -> None:
    first = values_of(How.SERIAL, serials)
    taken = {part.lower() for standin in first.values() for part in parts_of(standin)} - junk.WORDS
    values = Values(KEY, {How.SERIAL: serials}, taken=taken)
    for serial in (serial for serial in serials if junk.serial_keys(serial)[0] is not None):
        changed = parts_of(values.stand_in(How.SERIAL, serial) or "") - parts_of(serial)
        assert {part for part in changed if part.lower() in taken and len(part) > 6} == set(), first


def parts_of(serial: str) -> set[str]:
    """The parts of a serial number by which a record could be recognised."""
    return {part for part in re.findall(r"[^\W_]{4,}", serial) if not part.isdigit()}


def test_ip_addresses_keep_their_networks() -> None:
    found = values_of(How.ADDRESS, ["10.0.7.5", "10.0.7.6", "10.0.8.5", "8.8.4.4", "8.8.5.4", "10.0.7.255"])
    networks = {value: standin.rpartition(".")[0] for value, standin in found.items()}
    assert networks["10.0.7.5"] == networks["10.0.7.6"] == networks["10.0.7.255"] != networks["10.0.8.5"]
    assert networks["10.0.7.5"].startswith("10.")
    assert found["8.8.4.4"].split(".")[:2] == found["8.8.5.4"].split(".")[:2] != ["8", "8"]
    assert len(set(found.values())) == len(found)


@given(st.lists(st.dates(date(1990, 1, 1), date(2090, 1, 1)), min_size=2, max_size=5))
def test_dates_stay_as_far_apart_and_go_back(days: list[date]) -> None:
    values = Values(KEY, {})
    shifted = [date.fromisoformat(values.stand_in(How.DATE, day.isoformat()) or "") for day in days]
    assert [later - days[0] for later in days] == [later - shifted[0] for later in shifted]
    assert shifted[0] < days[0]
    assert values.stand_in(How.DATE, "0001-01-01") == "0001-01-01"
    moment = datetime(2026, 3, 1, 12, 30)
    assert (values.moment(moment) or moment) - moment == shifted[0] - days[0]


def test_notes_keep_their_lines_and_the_marker_and_nothing_else() -> None:
    notes = "Root pw: geheim12\n\nAsk Jörg (ext. 7)\nKaseya BMS ID: 17"
    assert Values(KEY, {}).stand_in(How.NOTES, notes) == (
        "xxxx xx: xxxxxx00\n\nxxx xxxx (xxx. 0)\nKaseya BMS ID: 17"
    )  # fmt: skip


@given(st.sets(st.integers(1, 10**9), min_size=1, max_size=30))
def test_ids_keep_their_order(ids: set[int]) -> None:
    replaced = Ids(KEY, ids)
    found = [replaced.stand_in(number) for number in sorted(ids)]
    assert found == sorted(set(found), key=lambda number: number or 0)
    assert replaced.in_text(f"client-{max(ids)}") == f"client-{found[-1]}"


def test_every_field_of_every_entity_has_a_way_to_be_replaced() -> None:
    kept = {
        (entity.name, column)
        for entity in ENTITIES
        for column, how in how_to_replace(entity).items()
        if how is How.KEPT
    }
    assert kept == set()


def _alike(keys: list[str | bool | None]) -> list[bool]:
    texts = [str(key) if key is not None else None for key in keys]
    return [
        one is not None and other is not None and (one.endswith(other) or other.endswith(one))
        for one, other in combinations(texts, 2)
    ]
