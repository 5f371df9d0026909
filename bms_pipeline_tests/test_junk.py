"""What counts as junk, by kind: one definition for all that compares, matches, writes or suggests."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core.junk import Kind, is_junk, is_junk_text, serial_keys
from bms_pipeline.warehouse import names

JUNK_SERIALS = (
    "Not Available", "No Serial", "No Serial Number", "System Product Name", "Base Board Serial Number",
    "VMware", "Empty",
    "1234567", "12345678", "11111111", "99999999", "ffffffff", "MB-1234567890", "See label", "TEST", "undefined",
    "To Be Filled By O.E.M. by More String", "BSN12345678901234567", "0x00000000", "OEM_Serial", "Sin numero", "N/A",
    "n.a.", "none", "None None", "none1", "TEST123", "Default string", "System-Serial-Number", "(null string)",
    "INVALID",
    "SYS-9876543210", "0123456789", "NNNNNNN", "xxxxxxxxxxx", "EVAL", "IATPASS", "Unknow", "........", "-",
    "0", "1", "12",
    "0-1-2-3-4-5", "98765", "aaaa-aaaa", "Chassis Serial Number", "Not Specified", "serial number", "Seriennummer",
    "unbekannt", "keine", "Número de serie", "OEM", "TBD", "A1", "Tulip Computers",
)  # fmt: skip
DOUBTFUL_SERIALS = (
    "A12", "SN-12", "SN-77777", "000000001", "9000000", "123456789000", "0101010101", "OEM-9X88123", "ABC-1234",
    "Type2 - Board Serial Number", "Serial Number: 5CG1234XYZ", "JXQKDFH", "TEST-5CG4410", "X1234567X",
)  # fmt: skip
REAL_SERIALS = (
    "5CG1234XYZ", "PF0ABC1D", "VMware-56 4d 8a 12 33 0f", "5485-8934-1254-1188-0071", "C02XK0AAJG5H",
    "SN-0001", "MXL0350ABC",
    "FOC1932X0K1", "CNA1234X", "8CXNNA2", "Parallels-1D 7A 33", "АБ-1298", "2TEST9K7",
)  # fmt: skip
JUNK: dict[Kind, tuple[str, ...]] = {
    Kind.SERIAL: JUNK_SERIALS,
    Kind.TEXT: (
        "N/A", "n.a.", "NA", "-", "...", "***", "none", "None None", "Please Select", "-- Please select --",
        "Test", "Test User",
        "TEST 12", "unknown", "Unknown Device", "TBD", "to be determined", "Not Specified", "not available",
        "(null)", "No Name",
        "Sin nombre", "Sin número", "Seleccione", "unbekannt", "bitte wählen", "Inconnu", "non renseigné",
        "xxx", "0000",
        "Default string", "To be filled by O.E.M.", "asdf", "Placeholder",
    ),
    Kind.EMAIL: (
        "none@none.com", "noemail@acme.com", "no-email@x.de", "n/a", "none", "NoEmail@NoEmail.com",
        "test@test.com", "@", "a@",
        "no@no.com", "noreply@acme.com", "x@y.invalid", "unknown@unknown.com", "notprovided@acme.com", " na@na.com ",
    ),
    Kind.PHONE: (
        "000-000-0000", "555-555-5555", "+1 (555) 555-5555", "123-456-7890", "1234567890", "n/a", "none", "0",
        "999 999 9999",
        "9876543210", "-",
    ),
}  # fmt: skip
REAL: dict[Kind, tuple[str, ...]] = {
    Kind.SERIAL: (*REAL_SERIALS, *DOUBTFUL_SERIALS),
    Kind.TEXT: (
        "Ann Lee", "Nona", "Testa", "Tester", "No", "Yes", "Müller", "Ünone", "Server room", "3M", "AAA",
        "Default", "Nullmeier",
        "山田", "Test Valley Foods", "Unknown Pleasures Ltd",
    ),
    Kind.EMAIL: ("ann@client.example", "info@acme.com", "nona@acme.com", "ANN+IT@X.org", "n.a.smith@x.org"),
    Kind.PHONE: ("(555) 010-4477", "+49 221 998877", "101", "212-555-0100", "020 7946 0958"),
}  # fmt: skip
CASES = [(kind, value, True) for kind, values in JUNK.items() for value in values]
CASES += [(kind, value, False) for kind, values in REAL.items() for value in values]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        names.register_functions(connection)
        yield connection


@pytest.mark.parametrize("kind", Kind)
def test_junk_is_known_by_its_kind(connection: duckdb.DuckDBPyConnection, kind: Kind) -> None:
    for value, expected in ((value, junk) for its_kind, value, junk in CASES if its_kind == kind):
        found = connection.execute(f"SELECT {is_junk(kind, 'x')} FROM (SELECT $1 AS x)", [value]).fetchone()
        assert found == (expected,), value


@pytest.mark.parametrize("serial", DOUBTFUL_SERIALS)
def test_a_serial_number_that_may_be_junk_is_compared_and_proves_nothing(serial: str) -> None:
    found, real = serial_keys(serial)
    assert found is not None
    assert real is None


@pytest.mark.parametrize("serial", REAL_SERIALS)
def test_a_real_serial_number_is_its_letters_and_digits(serial: str) -> None:
    found, real = serial_keys(serial)
    assert found is not None
    assert found == real


@given(st.sampled_from("0123456789abcxyzNX-."), st.integers(1, 30), st.sampled_from(["", "0x", " "]))
def test_one_character_again_and_again_is_no_serial_number(sign: str, times: int, before: str) -> None:
    assert serial_keys(before + sign * times) == [None, None]


@given(st.integers(0, 9), st.integers(5, 20), st.booleans(), st.sampled_from(["", "SN-", "BSN", "MB "]))
def test_digits_in_order_are_no_serial_number(start: int, length: int, upwards: bool, before: str) -> None:
    digits = "".join(str((start + (n if upwards else -n)) % 10) for n in range(length))
    assert serial_keys(before + digits) == [None, None]


@given(st.text(st.characters(categories=["L"], max_codepoint=0x17F), max_size=30).filter(lambda text: len(text) != 7))
def test_without_any_digit_it_is_no_serial_number(text: str) -> None:
    assert serial_keys(text) == [None, None]


@given(
    st.sampled_from(["Default string", "To be filled by O.E.M.", "Not Specified", "N/A"]),
    st.sampled_from(["", " ", ".", "_", "-"]),
)
def test_case_and_punctuation_make_no_value_of_junk(phrase: str, around: str) -> None:
    for spelt in (phrase.upper(), phrase.lower(), phrase.replace(" ", "_"), phrase.replace(" ", "-")):
        assert is_junk_text(around + spelt + around)
        assert serial_keys(around + spelt + around) == [None, None]


@given(st.text(max_size=40))
def test_any_text_is_judged_alike_whatever_its_case(text: str) -> None:
    assert serial_keys(text)[1] in (None, serial_keys(text)[0])
    assert is_junk_text(f" {text} ") == is_junk_text(text)
