"""Stand-ins of names: what matching says about two names, it says about their stand-ins."""

from __future__ import annotations

import re
import unicodedata
from itertools import combinations

from hypothesis import example, given
from hypothesis import strategies as st
from rapidfuzz import fuzz

from bms_pipeline.core import junk
from bms_pipeline.support.values import How, Values
from bms_pipeline.support.words import Words
from bms_pipeline.warehouse.names import fold_name, near_keys

KEY = bytes(range(32))

LETTERS = st.sampled_from("abcdeghiklmnorstuABCDEMORSTUäöüéèçñßøłæÄÖÜÉаеорсКГЖяΩλ山田本ひカ한글0123456789")
WORD = st.text(LETTERS, min_size=1, max_size=9)
REAL = st.sampled_from((
    "Müller", "Mueller", "MULLER", "Maas", "Mas", "Data", "Soft", "DataSoft", "Acme", "ACME", "Ａｃｍｅ", "Smith",
    "Smyth", "O'Brien", "OBrien", "J.R.", "JR", "GmbH", "Ltd", "S.A.", "SA", "and", "&", "&amp;", "y", "Straße",
    "Strasse", "José", "Jose\u0301", "Ольга", "Oльга", "山田", "山", "test", "Test", "PC-0042", "PC0042", "1-11",
    "11-1", "株式会社", "Boeing", "Boing", "Queue", "naïve", "Z\u200bap", "%20", "&uuml;", "M&uuml;ller", "Noël",
    "ﬁn", "fin", "한글", "\u1112\u1161\u11ab\u1100\u1173\u11af", "が", "か\u3099", "ｶﾞ", "क\u093c", "Йод", "И\u0306од",
))  # fmt: skip
BETWEEN = st.sampled_from((" ", "  ", "-", ", ", ".", "", "/", "\u00a0", " & ", "_", "'"))
NAME = st.lists(st.tuples(st.one_of(REAL, WORD), BETWEEN), min_size=1, max_size=4).map(
    lambda parts: "".join(word + between for word, between in parts)
)
NAMES = st.lists(NAME, min_size=1, max_size=8, unique=True)


def stand_ins(names: list[str]) -> dict[str, str]:
    values = Values(KEY, {How.NAME: names})
    return {name: values.stand_in(How.NAME, name) or "" for name in names}


@given(NAMES)
@example(["Müller & Söhne GmbH", "Mueller und Soehne", "MÜLLER &amp; SÖHNE", "Data Soft", "DataSoft", "Soft Data"])
@example(["J.R. Smith", "JR Smith", "J R Smith", "A B C Ltd", "ABC", "O'Brien", "OBrien", "O Brien"])
@example(
    ["Ольга", "Oльга", "Ольга Петрова", "山田 太郎", "山田太郎", "Straße", "STRASSE", "Jose\u0301", "José", "Jose"]
)
def test_two_names_are_identical_or_near_exactly_if_their_stand_ins_are(names: list[str]) -> None:
    found = stand_ins(names)
    for one, other in combinations(names, 2):
        assert _same(fold_name(one), fold_name(other)) == _same(fold_name(found[one]), fold_name(found[other])), (
            one, other, found[one], found[other],
        )  # fmt: skip
        for before, after in zip(_near(one, other), _near(found[one], found[other]), strict=True):
            assert before == after, (one, other, found[one], found[other])


@given(NAMES)
@example(["한글 서울", "지후 문", "翼 高橋", "がく", "Йод", "Ευτέρπη", "Åsa", "कल्पना"])
def test_a_name_in_any_normal_form_of_unicode_stays_one_name(names: list[str]) -> None:
    for form in ("NFC", "NFD"):
        written = {name: unicodedata.normalize(form, name) for name in names}
        found = stand_ins([*names, *written.values()])
        for name, other in written.items():
            assert fold_name(found[name]) == fold_name(found[other]), (name, found[name], found[other])


@given(NAMES)
def test_a_stand_in_is_the_same_whatever_else_is_replaced_before_it(names: list[str]) -> None:
    forwards, backwards = stand_ins(names), stand_ins(names[::-1])
    assert forwards == backwards


@given(NAMES)
def test_a_placeholder_stays_one_and_no_name_becomes_one(names: list[str]) -> None:
    for name, standin in stand_ins(names).items():
        assert junk.is_junk_text(name) == junk.is_junk_text(standin), (name, standin)


@given(NAMES)
def test_blanks_punctuation_and_encoding_stay_where_they_are(names: list[str]) -> None:
    for name, standin in stand_ins(names).items():
        assert _frame(name) == _frame(standin), (name, standin)


@given(st.lists(st.text("abcdefghiklmnoprstuvwxyzABCDEFG", min_size=4, max_size=12), min_size=1, max_size=12))
def test_no_word_of_four_letters_is_left_and_case_and_length_stay(names: list[str]) -> None:
    public = re.compile(r"[a-z]", re.IGNORECASE)
    originals = {name.casefold() for name in names}
    for name, standin in stand_ins(names).items():
        if not junk.is_junk_text(name) and Words(KEY, [], [name]).known:
            assert standin.casefold() not in originals, (name, standin)
        assert [letter.isupper() for letter in name] == [letter.isupper() for letter in standin]
        assert public.sub("a", name) == public.sub("a", standin)


def test_a_key_decides_everything() -> None:
    one, other = (Words(bytes([n]) * 32, [], ["Contoso Freight"]) for n in (1, 2))
    assert one.stand_in("Contoso Freight") != other.stand_in("Contoso Freight")
    assert one.stand_in("Contoso Freight") == Words(bytes([1]) * 32, [], ["Contoso Freight"]).stand_in(
        "Contoso Freight"
    )


def test_a_misspelt_word_stays_about_as_near() -> None:
    spelled = ["Thompson", "Thomson", "Tompson", "Rodriguez", "Rodrigues", "Kowalski", "Kowalsky", "Freight", "Frieght"]
    found = stand_ins(spelled)
    for one, other in combinations(spelled, 2):
        before = fuzz.ratio(one.lower(), other.lower())
        after = fuzz.ratio(found[one].lower(), found[other].lower())
        assert before < 80 or after >= 70, (one, other, found[one], found[other])
        assert before > 40 or after < 70, (one, other, found[one], found[other])


def test_a_word_that_was_not_in_the_vocabulary_is_x() -> None:
    assert Words(KEY, ["Contoso"]).stand_in("Fabrikam & Sons 77 Ltd") == "xxxxxxxx & xxxx 00 Ltd"


def _same(one: str | None, other: str | None) -> bool:
    return one is not None and one == other


def _near(one: str, other: str) -> list[bool]:
    keys, other_keys = near_keys(fold_name(one) or ""), near_keys(fold_name(other) or "")
    return [key is not None and key == other_key for key, other_key in zip(keys, other_keys, strict=True)]


def _frame(text: str) -> str:
    """Return what is between the words of a text."""
    return "".join(sign if unicodedata.category(sign)[0] not in "LMN" else "" for sign in text)
