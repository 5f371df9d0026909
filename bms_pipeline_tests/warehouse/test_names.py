"""What counts as an identical name, and what as a near one: the SQL and its definition in Python say the same."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bms_pipeline.warehouse.names import BLANKS, fold_name, loose_key, name_key
from bms_pipeline_tests.building import new_warehouse

IDENTICAL = {
    "case": ("Acme Ltd", "ACME ltd"),
    "spaces around": ("Acme", "  Acme  "),
    "a space in front of plain text": ("Acme", " Acme"),
    "white space inside": ("Acme Ltd", "Acme \t\n Ltd"),
    "no-break and ideographic space": ("Acme Ltd", "Acme\u00a0\u3000Ltd"),
    "full width": ("Acme 7", "Ａｃｍｅ　７"),
    "composed and decomposed": ("Café", "Cafe\u0301"),
    "ligature": ("Office", "Oﬃce"),
    "sharp s": ("Groß", "GROSS"),
    "capital sharp s": ("groß", "GROẞ"),
    "final sigma": ("ΟΔΟΣ", "οδος"),
    "Turkish capital I with dot": ("İzmir", "i\u0307zmir"),
    "half-width Katakana": ("カメラ", "ｶﾒﾗ"),
    "Hangul syllable and letters": ("한", "\u1112\u1161\u11ab"),
}
DIFFERENT = {
    "accent": ("Cafe", "Café"),
    "dotless i": ("Isik", "Isık"),
    "punctuation": ("Acme Ltd", "Acme Ltd."),
    "and": ("A & B", "A and B"),
    "look-alike letters": ("Acme", "Асme"),
    "no space": ("Acme Ltd", "AcmeLtd"),
    "zero width": ("Acme", "Ac\u200bme"),
    "word order": ("Bob Ray", "Ray Bob"),
}
BLANK = ("", " ", "   ", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\x85", "\x1c \x1f", " \t\u2003")

NEAR = {
    "legal suffix": ("Acme Ltd", "Acme"),
    "suffix with a dot": ("Acme Inc.", "Acme, Inc"),
    "another suffix": ("Acme GmbH", "Acme LLC"),
    "ampersand": ("Smith & Sons", "Smith and Sons"),
    "ampersand without spaces": ("A&B", "A and B"),
    "word order": ("Bay Clinic", "Clinic, Bay"),
    "accents": ("Café Müller", "Cafe Muller"),
    "punctuation": ("St. Mary's", "St Mary s"),
    "Cyrillic punctuation and order": ("ООО «Ромашка»", "Ромашка, ООО"),
    "Japanese brackets": ("株式会社【山田】", "株式会社 山田"),
    "Arabic tashkeel": ("شركة النُّور", "شركة النور"),
}
NOT_NEAR = {
    "another word": ("Acme North", "Acme South"),
    "a number": ("Site 1", "Site 2"),
    "part of a word": ("Acmeltd", "Acme"),
    "Japanese names": ("山田商店", "山本商店"),
    "Cyrillic words": ("Ромашка", "Берёзка"),
    "Devanagari names that differ in vowel signs": ("राम", "रमा"),
    "Thai words": ("กานต์", "กนิต"),
}
NOTHING_LEFT = ("Ltd", "...", "Co. Inc")

_PARTS = (
    "Acme",
    "ACME",
    "ß",
    "ẞ",
    "ı",
    "İ",
    "I",
    "ς",
    "Σ",
    "é",
    "e\u0301",
    "Ａ",
    "ﬃ",
    "\u0345",
    "\u200b",
    "한",
    "&",
    "Ltd",
)
_TEXTS = st.lists(
    st.one_of(
        st.sampled_from((*_PARTS, *BLANK)),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
        st.text(st.characters(min_codepoint=1, max_codepoint=0x7F), max_size=6),
    ),
    max_size=5,
).map("".join)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with new_warehouse(tmp_path_factory.mktemp("names") / "warehouse.duckdb").open() as connection:
        yield connection


def keys(connection: duckdb.DuckDBPyConnection, expression: str, texts: Sequence[str]) -> list[str | None]:
    """SQL ``expression`` over the column ``name`` for each of ``texts``."""
    rows = connection.execute(
        f"SELECT {expression} FROM (SELECT unnest($texts) AS name, unnest(range(len($texts))) AS n) ORDER BY n",
        {"texts": list(texts)},
    ).fetchall()
    return [row[0] for row in rows]


def loose(connection: duckdb.DuckDBPyConnection, texts: Sequence[str]) -> list[str | None]:
    """The near-identity of ``texts``; over the name key, as reconcile asks for it."""
    return keys(connection, loose_key("name"), [fold_name(each) or "" for each in texts])


@pytest.mark.parametrize("case", IDENTICAL)
def test_identical_names(connection: duckdb.DuckDBPyConnection, case: str) -> None:
    one, other = keys(connection, name_key("name"), IDENTICAL[case])
    assert one is not None
    assert one == other


@pytest.mark.parametrize("case", DIFFERENT)
def test_names_that_only_a_person_may_call_the_same(connection: duckdb.DuckDBPyConnection, case: str) -> None:
    one, other = keys(connection, name_key("name"), DIFFERENT[case])
    assert one != other


@pytest.mark.parametrize("blank", BLANK, ids=ascii)
def test_a_blank_name_has_no_key_so_that_blank_never_equals_blank(
    connection: duckdb.DuckDBPyConnection, blank: str
) -> None:
    assert fold_name(blank) is None
    assert keys(connection, name_key("name"), [blank]) == [None]


def test_no_name_has_no_key(connection: duckdb.DuckDBPyConnection) -> None:
    assert connection.execute(f"SELECT {name_key('name')} FROM (SELECT NULL::VARCHAR AS name)").fetchone() == (None,)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.lists(_TEXTS, min_size=1, max_size=60))
@example([" a"])
@example(["\t", "a"])
def test_the_sql_and_its_definition_agree_on_any_text(connection: duckdb.DuckDBPyConnection, texts: list[str]) -> None:
    assert keys(connection, name_key("name"), texts) == [fold_name(each) for each in texts]


@settings(derandomize=True, max_examples=300, deadline=None)
@given(_TEXTS)
def test_a_key_is_its_own_key(text: str) -> None:
    key = fold_name(text)
    assert key is None or fold_name(key) == key


@pytest.mark.parametrize("case", NEAR)
def test_near_names(connection: duckdb.DuckDBPyConnection, case: str) -> None:
    one, other = loose(connection, NEAR[case])
    assert one is not None
    assert one == other


@pytest.mark.parametrize("case", NOT_NEAR)
def test_names_that_are_not_even_near(connection: duckdb.DuckDBPyConnection, case: str) -> None:
    one, other = loose(connection, NOT_NEAR[case])
    assert one != other


def test_a_name_of_which_nothing_is_left_is_near_to_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    assert loose(connection, NOTHING_LEFT) == [None] * len(NOTHING_LEFT)


@settings(derandomize=True, max_examples=20, deadline=None)
@given(st.lists(st.lists(_TEXTS, max_size=3), min_size=1, max_size=40))
def test_order_and_a_legal_suffix_never_matter(connection: duckdb.DuckDBPyConnection, names: list[list[str]]) -> None:
    turned = [" ".join([*reversed(words), "Ltd"]) for words in names]
    assert loose(connection, [" ".join(words) for words in names]) == loose(connection, turned)


def test_blanks_are_all_that_python_calls_white_space() -> None:
    assert sorted(BLANKS) == [chr(each) for each in range(sys.maxunicode + 1) if chr(each).isspace()]
