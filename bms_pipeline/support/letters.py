"""The pieces of a text: words, taken apart into characters, and everything between them.

Matching compares words by their shape (``names.shaped``): ``Müller``, ``MUELLER`` and ``Ｍuller`` have one core,
``muller``. So a character knows its part of the core, and how to write another letter in its own way: its case, its
accents, its width.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from dataclasses import dataclass, replace

from bms_pipeline.warehouse import names

LATIN, DIGIT, FIXED = "latin", "digit", "fixed"
"""Kinds of characters. Any other kind is the folded character itself, of a script that is not Latin."""

_ENCODED = re.compile(r"&(?:(?:amp|#38|#x26);)*(?:#\d{1,7};|#x[0-9a-f]{1,6};|[a-z][a-z0-9]{1,31};)", re.IGNORECASE)
_BETWEEN = re.compile(f"%[0-9A-Fa-f]{{2}}|{names.LEGAL_SIGNS.pattern}")
_FULL_WIDTH = 0xFEE0


@dataclass(frozen=True)
class Sign:
    """A character, or an HTML entity, as ``written``. ``core``: its shape; empty where matching does not see it."""

    written: str
    core: str
    kind: str

    def rewritten(self, letter: str) -> str:
        """Return ``letter`` written in the way of this character."""
        plain = unicodedata.normalize("NFKC", self.written)
        is_wide = len(self.written) == 1 and self.written != plain and len(plain) == 1
        base, marks = unicodedata.normalize("NFD", plain)[:1], unicodedata.normalize("NFD", plain)[1:]
        cased = letter.upper() if base != base.casefold() else letter
        if is_wide and self.kind in (LATIN, DIGIT):
            return chr(ord(cased) + _FULL_WIDTH)
        whole = unicodedata.normalize("NFC", cased + marks if self.kind in (LATIN, DIGIT) else cased)
        is_composed = self.written == unicodedata.normalize("NFC", self.written)
        return whole if is_composed else unicodedata.normalize("NFD", whole)


Word = tuple[Sign, ...]


def core_of(word: Word) -> str:
    """Return what matching compares of ``word``."""
    return "".join(sign.core for sign in word)


@functools.lru_cache(maxsize=200_000)
def pieces(text: str) -> tuple[str | Word, ...]:
    """Return the words of ``text``, and the texts between them as they are; joined, they are ``text``."""
    found: list[str | Word] = []
    word: list[Sign] = []
    between: list[str] = []

    def end_word() -> None:
        if word:
            found.append(_without_umlauts(word))
            word.clear()

    def end_between() -> None:
        if between:
            found.append("".join(between))
            between.clear()

    for written in _signs(text):
        sign = _sign(written)
        if sign is None or (not sign.core and not word):
            end_word()
            between.append(written)
        else:
            end_between()
            word.append(sign)
    end_word()
    end_between()
    return tuple(found)


def _signs(text: str) -> list[str]:
    """Return the characters of ``text``; what stands for one character, or is never replaced, is one."""
    signs: list[str] = []
    place = 0
    while place < len(text):
        match = None
        if text[place] == "&":
            match = _ENCODED.match(text, place)
        elif text[place] == "%" or not text[place].isascii():
            match = _BETWEEN.match(text, place)
        end = match.end() if match else _end_of_character(text, place)
        signs.append(text[place:end])
        place = end
    return signs


def _end_of_character(text: str, place: int) -> int:
    """Return where the character ends that begins at ``place``: after the accents, or the parts of a syllable."""
    end = place + 1
    while end < len(text) and not text[end].isascii() and len(unicodedata.normalize("NFC", text[place : end + 1])) == 1:
        end += 1
    return end


@functools.lru_cache(maxsize=20_000)
def _sign(written: str) -> Sign | None:
    """Return a character of a word; None where it is between words."""
    composed = unicodedata.normalize("NFC", written)
    if len(composed) == 1:
        return _character(written, composed)
    decoded = written
    for _ in range(3):
        decoded = html.unescape(decoded)
    found = _character(written, decoded) if written[0] == "&" and len(decoded) == 1 else None
    return replace(found, kind=FIXED) if found is not None and found.core else None


def _character(written: str, character: str) -> Sign | None:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", character).casefold())
    core = names.shaped(folded)
    if not core:  # an accent of its own, or invisible
        return Sign(written, "", FIXED) if folded else None
    if any(unicodedata.category(sign)[0] not in "LMN" for sign in core):
        return None
    return Sign(written, core, _kind(folded, core))


def _kind(folded: str, core: str) -> str:
    base, marks = unicodedata.normalize("NFD", folded)[:1], unicodedata.normalize("NFD", folded)[1:]
    if len(core) != 1:
        return FIXED
    if base.isascii() and base.isalpha() and base == core and all(unicodedata.category(m)[0] == "M" for m in marks):
        return LATIN
    if folded.isascii() and folded.isdigit():
        return DIGIT
    is_other_script = len(folded) == 1 and unicodedata.category(folded) in ("Ll", "Lo", "Nd")
    return folded if is_other_script and not unicodedata.name(folded, "LATIN").startswith("LATIN") else FIXED


def _without_umlauts(word: list[Sign]) -> Word:
    """Return the word with an empty core for the second letter of ``ae``, ``oe``, ``ue`` and ``aa``.

    Matching drops it, because it may be an umlaut. The letter before has to stay then, so both are fixed.
    """
    core = core_of(tuple(word))
    dropped = {match.start() for match in names.SECOND_OF_UMLAUT.finditer(core)}
    if not dropped:
        return tuple(word)
    signs: list[Sign] = []
    place = 0
    for sign in word:
        kept = "".join(part for n, part in enumerate(sign.core, place) if n not in dropped)
        place += len(sign.core)
        if kept != sign.core:
            fixed = next((n for n in range(len(signs) - 1, -1, -1) if signs[n].core), None)
            if fixed is not None:
                signs[fixed] = replace(signs[fixed], kind=FIXED)
            sign = Sign(sign.written, kept, FIXED)  # the sign as matching sees it
        signs.append(sign)
    return tuple(signs)


@functools.cache
def alphabet(folded: str) -> str:
    """Return the letters that may stand for a letter of a script that is not Latin: its neighbours in Unicode."""
    script, category = unicodedata.name(folded).split()[0], unicodedata.category(folded)
    start = ord(folded) & ~0xFF
    found = [
        sign
        for sign in map(chr, range(start, start + 0x100))
        if unicodedata.category(sign) == category
        and unicodedata.name(sign, "").split()[:1] == [script]
        and unicodedata.normalize("NFKC", sign).casefold() == sign
        and names.shaped(sign) == sign
        and len(sign.upper()) == 1
        and sign.upper().casefold() == sign
    ]
    return "".join(found) or folded
