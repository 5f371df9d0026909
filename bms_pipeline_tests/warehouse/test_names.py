"""What counts as an identical name, and what as a near one: the SQL and its definition in Python say the same."""

from __future__ import annotations

import html
import sys
import unicodedata
from collections.abc import Iterator, Sequence

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bms_pipeline.warehouse.names import BLANKS, LEGAL_FORMS, fold_name, is_other_name, name_key, near_keys
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
INVISIBLE = (
    "\u200b",
    "\u00ad",
    "\ufeff",
    "\u2060",
    "\u200e\u202e",
    "\u180e",
    "\u3164",
    "\ufe0f",
    "\U000e0041",
    "\u2800",
    "\x07",
)
SPELLED_OUT = ("\u200b \u200d", " \u00ad ", "\u2063\u00a0", *INVISIBLE)

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
    "HTML entity": ("Smith &amp; Sons", "Smith & Sons"),
    "encoded twice": ("O&amp;#39;Brien", "O'Brien"),
    "encoded with capitals": ("Caf&Eacute; Noir", "Café Noir"),
    "encoded in hexadecimal": ("M&#xFC;ller", "Müller"),
    "encoded and invisible": ("Ac&#8203;me", "Acme"),
    "zero width": ("Acme", "Ac\u200bme"),
    "soft hyphen": ("Data\u00adcenter", "Datacenter"),
    "variation selector": ("Acme\ufe0f", "Acme"),
    "tags": ("Acme\U000e0067\U000e007f", "Acme"),
    "dotted legal form": ("Acme L.L.C.", "Acme LLC"),
    "dotted against none": ("Eike G.m.b.H.", "Eike"),
    "legal form with spaces": ("Bolt S. A.", "Bolt SA"),
    "legal form in single letters": ("Bolt S A", "Bolt"),
    "Mexican": ("Corso S.A. de C.V.", "Corso"),
    "Polish": ("Dom Sp. z o.o.", "Dom"),
    "Czech": ("Novák s.r.o.", "Novak"),
    "Danish": ("Hansen A/S", "Hansen"),
    "initials": ("F.G.H. Works", "FGH Works"),
    "initials before a name": ("J.R.R. Tolkien", "JRR Tolkien"),
    "Polish strokes": ("Łódź", "Lodz"),
    "Danish stroke": ("Sørensen", "Sorensen"),
    "Croatian stroke": ("Đurić", "Duric"),
    "Icelandic letters": ("Þór Æsir", "Thor Aesir"),
    "umlauts spelled": ("Müller Öl", "Mueller Oel"),
    "umlauts of capitals": ("MÜLLER", "mueller"),
    "umlauts bare and spelled": ("Muller", "Mueller"),
    "o with stroke, spelled": ("Jørgen", "Joergen"),
    "ring spelled": ("Åse", "Aase"),
    "sharp s": ("Strauß", "Strauss"),
    "dotless i": ("Yıldız", "Yildiz"),
    "dotted capital i": ("İzmir", "Izmir"),
    "Cyrillic letters in a Latin word": ("Асme", "Acme"),
    "a whole word of Cyrillic letters": ("СОРУ", "COPY"),
    "Greek capitals": ("ΝΙΚΕ", "NIKE"),
    "Armenian": ("Ա\u0585ne", "Wone"),
    "Latin alpha": ("Pɑul", "Paul"),
    "small capitals": ("ᴀᴄᴍᴇ", "ACME"),
    "mathematical letters": ("𝐀cme", "Acme"),
    "circled letters": ("Ⓐcme", "Acme"),
    "und": ("Braun und Sohn", "Braun & Sohn"),
    "et": ("Lefèvre et Fils", "Lefevre & fils"),
    "y": ("García y Hijos", "Garcia & Hijos"),
    "e": ("Rossi e Figli", "Rossi & Figli"),
    "and left out": ("Smith and Sons", "Smith Sons"),
    "apostrophe left out": ("O'Brien", "OBrien"),
    "typographic apostrophe": ("O’Brien", "O'Brien"),
    "typographic dash": ("Ida–Orr", "Ida-Orr"),
    "two words in one": ("Data Center Nord", "Datacenter Nord"),
    "hyphen left out": ("Data-Center", "DataCenter"),
    "Japanese company in front": ("株式会社山田", "山田"),
}
NOT_NEAR = {
    "another word": ("Acme North", "Acme South"),
    "a number": ("Site 1", "Site 2"),
    "part of a word": ("Acmeltd", "Acme"),
    "Japanese names": ("山田商店", "山本商店"),
    "Cyrillic words": ("Ромашка", "Берёзка"),
    "Devanagari names that differ in vowel signs": ("राम", "रमा"),
    "Thai words": ("กานต์", "กนิต"),
    "numbers apart": ("R1-11", "R11-1"),
    "a letter at the end": ("Building E", "Building"),
    "no entity": ("AT&T; Shop", "AT Shop"),
    "Katakana with and without voice marks": ("カス", "ガズ"),
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


def are_near(one: str, other: str) -> bool:
    """Whether a record of one name is not created next to one of the other."""
    keys_of_one, keys_of_other = near_keys(fold_name(one) or ""), near_keys(fold_name(other) or "")
    return any(key is not None and key == its for key, its in zip(keys_of_one, keys_of_other, strict=True))


@pytest.mark.parametrize("case", IDENTICAL)
def test_identical_names(connection: duckdb.DuckDBPyConnection, case: str) -> None:
    one, other = keys(connection, name_key("name"), IDENTICAL[case])
    assert one is not None
    assert one == other


@pytest.mark.parametrize("case", DIFFERENT)
def test_names_that_only_a_person_may_call_the_same(connection: duckdb.DuckDBPyConnection, case: str) -> None:
    one, other = keys(connection, name_key("name"), DIFFERENT[case])
    assert one != other


@pytest.mark.parametrize("blank", [*BLANK, *SPELLED_OUT], ids=ascii)
def test_a_name_that_shows_nothing_has_no_key_so_that_blank_never_equals_blank(
    connection: duckdb.DuckDBPyConnection, blank: str
) -> None:
    assert fold_name(blank) is None
    assert keys(connection, name_key("name"), [blank]) == [None]


def test_no_name_has_no_key(connection: duckdb.DuckDBPyConnection) -> None:
    assert connection.execute(f"SELECT {name_key('name')} FROM (SELECT NULL::VARCHAR AS name)").fetchone() == (None,)


@given(st.lists(_TEXTS, min_size=1, max_size=60))
@example([" a"])
@example(["\t", "a"])
def test_the_sql_and_its_definition_agree_on_any_text(connection: duckdb.DuckDBPyConnection, texts: list[str]) -> None:
    assert keys(connection, name_key("name"), texts) == [fold_name(each) for each in texts]


@given(_TEXTS)
def test_a_key_is_its_own_key(text: str) -> None:
    key = fold_name(text)
    assert key is None or fold_name(key) == key


@pytest.mark.parametrize("case", NEAR)
def test_near_names(case: str) -> None:
    assert are_near(*NEAR[case])


@pytest.mark.parametrize("case", NOT_NEAR)
def test_names_that_are_not_even_near(case: str) -> None:
    assert not are_near(*NOT_NEAR[case])


@pytest.mark.parametrize("name", NOTHING_LEFT)
def test_a_name_of_which_nothing_is_left_is_near_to_nothing(name: str) -> None:
    assert near_keys(fold_name(name) or "") == [None, None]


@given(
    st.lists(_TEXTS.filter(lambda text: "." not in text), max_size=3), st.sampled_from(["Ltd", "GmbH", "S.A.", "inc."])
)
def test_order_and_a_legal_form_never_matter(words: list[str], form: str) -> None:
    long_words = [f"ab{word}cd" for word in words]
    turned = " ".join([*reversed(long_words), form])
    assert near_keys(fold_name(" ".join(long_words)) or "")[0] == near_keys(fold_name(turned) or "")[0]


_WRITTEN = st.text(st.characters(categories=["L", "N"]) | st.sampled_from(" -'&."), min_size=1, max_size=12)


@given(_WRITTEN)
def test_identical_names_are_near(name: str) -> None:
    for other in (name.upper(), name.lower(), f"  {name} ", unicodedata.normalize("NFD", name)):
        if fold_name(name) == fold_name(other):
            assert near_keys(fold_name(name) or "") == near_keys(fold_name(other) or "")


@given(st.text(st.characters(categories=["L", "N"]), min_size=2, max_size=10), st.data())
def test_what_nobody_can_see_never_makes_another_name(name: str, data: st.DataObject) -> None:
    """Whichever sign without a shape stands where."""
    where = data.draw(st.integers(0, len(name)))
    sign = data.draw(st.sampled_from(INVISIBLE[:-2]))
    disguised = f"{name[:where]}{sign}{name[where:]}"
    assert near_keys(fold_name(disguised) or "") == near_keys(fold_name(name) or "")


@given(
    st.lists(
        st.sampled_from(["Acme", "Łódź", "Smith & Sons", "O'Brien", "Müller", "Ab<c>", "Ñandú"]), min_size=1, max_size=3
    )
)
def test_html_encoding_never_makes_another_name(words: list[str]) -> None:
    name = encoded = " ".join(words)
    for _ in range(2):
        encoded = html.escape(encoded).encode("ascii", "xmlcharrefreplace").decode()
        assert are_near(name, encoded)


@given(
    st.sampled_from(sorted(form for form in LEGAL_FORMS if form.isascii() and len(form) < 5)),
    st.sampled_from([".", ". "]),
)
def test_the_dots_of_a_legal_form_never_make_another_name(form: str, dot: str) -> None:
    assert are_near(f"Acme {form}", f"Acme {''.join(letter + dot for letter in form)}")
    assert are_near("Acme", f"Acme {''.join(letter.upper() + dot for letter in form)}")


@given(_TEXTS)
def test_any_text_has_keys_that_are_stable(text: str) -> None:
    folded = fold_name(text) or ""
    assert near_keys(folded) == near_keys(folded)
    assert (near_keys(folded)[0] is None) == (near_keys(folded)[1] is None)


OTHER = (("Alpha Foods", "Zulu Logistics"), ("Acme", "Northwind Traders Ltd"), ("Ann Lee", "Bob Ray"))
SAME_AFTER_ALL = (
    ("Acme", "Acme International"),
    ("Acme Ltd", "ACME GmbH"),
    ("Johnson Dental", "Jonson Dentals"),
    ("Ann Lee", "Ann Ray"),
    ("Müller", "Mueller & Co"),
    ("DataCenter", "Data Center Nord"),
)


@pytest.mark.parametrize("names", OTHER)
def test_names_that_have_nothing_in_common(names: tuple[str, str]) -> None:
    assert is_other_name(*names)
    assert is_other_name(*reversed(names))


@pytest.mark.parametrize("names", SAME_AFTER_ALL)
def test_a_rename_keeps_something(names: tuple[str, str]) -> None:
    assert not is_other_name(*names)


def test_blanks_are_all_that_python_calls_white_space() -> None:
    assert sorted(BLANKS) == [chr(each) for each in range(sys.maxunicode + 1) if chr(each).isspace()]
