"""Junk: text in place of a missing value. Junk is no value: it matches nothing and replaces no value.

One definition for all code that compares, matches, writes or suggests. People, imaging tools and manufacturers leave
words (``N/A``, ``To be filled by O.E.M.``), one character again and again, or digits in order. A serial number that
*may* be junk is a value, but proves nothing alone: see ``serial_keys``.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Kind(StrEnum):
    """The kind of a field, as far as its junk looks different."""

    TEXT = "text"
    EMAIL = "email"
    PHONE = "phone"
    SERIAL = "serial number"


_THING = "(user|contact|client|customer|company|account|location|site|asset|device|name|record|pc|computer|person)"
_PHRASES = (
    # English
    "n ?a", "none", "(null|nil|nan|void)( string)?", "unknown?", "undefined", "unspecified", "unassigned", "empty",
    "blank", "missing", "invalid", "placeholder", "dummy", "asdf+", "qwerty", "x{2,}", "0{2,}", "tb[acd]",
    "default string", "filled by .+", "see (label|sticker|notes?)", "noname", "noemail", "nomail",
    "to be (filled|determined|defined|assigned|advised|announced|confirmed)( .+)?",
    "(not|non) (available|applicable|specified|provided|known|set|assigned|present|defined|given|entered|used|found)",
    "no (name|value|data|entry|info|information|serial|serial number|email|e mail|mail|phone|number|address|title)",
    "(please |pls )?(select|choose|enter|specify)( (one|here|an option|a value|value|from list))?",
    f"test(e|ing)?( ?[0-9]{{1,3}})?( {_THING})?( ?[0-9]{{1,3}})?", f"(dummy|unknown|unnamed|untitled) {_THING}",
    # German, Dutch
    "unbekannt", "kein(e|er)?( angaben?)?", "(bitte )?(aus)?w(ä|ae)hlen", "nicht (angegeben|bekannt|vorhanden)",
    "onbekend", "geen", "niet (bekend|van toepassing)",
    # French, Italian
    "inconnue?", "aucune?", "non (défini|defini|renseigné|renseigne|disponible)e?", "sconosciut[oa]", "nessun[oa]",
    # Spanish, Portuguese
    "sin (nombre|número|numero|serie|datos|asignar|especificar|definir|correo|email|teléfono|telefono)",
    "desconocid[oa]", "ningun[oa]", "no (disponible|aplica|especificado|definido)", "por definir",
    "selec?ci[oó]n[ea]?r?( .+)?", "(não|nao) (informado|disponível|disponivel|aplicável|aplicavel)",
    # Polish
    "nieznan[yea]", "brak( danych)?",
)  # fmt: skip
_JUNK_TEXT = re.compile(f"(?:(?:{'|'.join(_PHRASES)})(?: |$))+")
_BETWEEN_WORDS = re.compile(r"[\W_]+")


def is_junk_text(text: str) -> bool:
    """Return whether ``text`` is only punctuation, or only phrases for a missing value."""
    words = _BETWEEN_WORDS.sub(" ", text.casefold()).strip()
    return not words or _JUNK_TEXT.fullmatch(words) is not None


_NOBODY = (
    r"(n/?a|none[0-9]*|null|nil|unknown|undefined|test|nobody|noone|no[-_.]?reply|do[-_.]?not[-_.]?reply|x{2,}|asdf|dummy"
    r"|no[-_.]?e?-?(mail|address)s?|not?[-_.]?(provided|available|given|known|applicable|set)|sin(correo|email)|keine?)"
)
_NOWHERE = (
    r"((none|no|na|n/a|no-?e?-?mail|null|unknown|test|example|invalid|dummy|x{2,})\.(com|net|org|local|invalid|none|co|de)"
    r"|none|na|example|localhost|test|(.+\.)?invalid)"
)
_EMAIL = rf"[^@]*|@.*|.*@|{_NOBODY}@.*|.*@{_NOWHERE}"

_UP, _DOWN = "0123456789" * 4, "9876543210" * 4
_SAME_DIGIT = "|".join(f"{digit}+" for digit in "0123456789")


def is_junk(kind: Kind, value_sql: str) -> str:
    """Return SQL for whether a value of this kind is junk; NULL for NULL."""
    match kind:
        case Kind.TEXT:
            return f"is_junk_text({value_sql})"
        case Kind.EMAIL:
            return f"regexp_full_match(trim({value_sql}), '{_EMAIL}', 'i')"
        case Kind.PHONE:
            digits = f"regexp_replace({value_sql}, '[^0-9]', '', 'g')"
            return (
                f"(regexp_full_match({digits}, '1?({_SAME_DIGIT}|)')"
                f" OR length({digits}) > 4 AND (contains('{_UP}', ltrim({digits}, '1')) OR contains('{_UP}', {digits})"
                f" OR contains('{_DOWN}', {digits})))"
            )
        case Kind.SERIAL:
            return f"serial_keys({value_sql})[1] IS NULL"


_LEAST_SERIAL = 5
"""Length below which a serial number may be somebody's own numbering."""
_MOSTLY = 0.7
"""Share of one character above which the rest carries little information."""
_WORDS_IN_SERIALS = re.compile(
    r"to be filled( by( o\W?e\W?m\b)?)?|filled by( o\W?e\W?m\b)?|default string"
    r"|(system|chassis|(base)? ?board|product|mainboard) ?(serial|product|asset|name|number|id)?"
    r"|(no |sin |s\W)?serial ?(numb(er)?|no)?|serien ?nummer|n(u|ú)mero( de serie)?|asset ?tag"
    r"|(not|non) (available|applicable|specified|provided|known|set|present)|(please )?select|(see |on )label"
    r"|placeholder|undefined|unspecified|unknown?|unbekannt|desconocid[oa]|inconnu|invalid|default|empty|dummy|sample"
    r"|\b(n\W?a|none|null|nil|nan|test|oem|o\.e\.m|tbd|eval|sin|void|xx+)(?![a-z])"
)
WORDS = frozenset(
    re.findall(r"[^\W\d_]{2,}", " ".join((*_PHRASES, _THING, _NOBODY, _NOWHERE, _WORDS_IN_SERIALS.pattern)).casefold())
)
"""The words that placeholders are made of."""
_MAY_BE_A_WORD = re.compile(r"[^\W\d_]{4}|\b(?:n\W?a|nan|nil|oem|o\.e|tbd|sin|xx)|s\Wserial")
"""A quick check: hardly any serial number matches it, and searching all of them for all the words is slow."""


def serial_keys(serial: str) -> list[str | None]:
    """Return the two keys of a serial number, each its letters and digits or None.

    The first is None if the number is junk, the second also if it may be junk. Junk has no digit, only one character,
    only digits in order (after letters or not), or a text for "none". These may be junk: short numbers, mostly one
    character, digits partly in order, or a number next to such a text.
    """
    text = serial.replace("_", " ").casefold()
    found = _BETWEEN_WORDS.sub("", serial.casefold()).upper()
    rest = found
    if _MAY_BE_A_WORD.search(text):
        rest = _BETWEEN_WORDS.sub("", _WORDS_IN_SERIALS.sub(" ", text)).upper()
    has_words = rest != found
    if _says_nothing(found) or _says_nothing(rest) or (has_words and len(rest) < _LEAST_SERIAL):
        return [None, None]
    return [found, None if has_words or _may_be_junk(found) else found]


def words_in_serial(serial: str) -> list[tuple[int, int]]:
    """Return the places of texts for "none" in a serial number: start and end of each."""
    return [match.span() for match in _WORDS_IN_SERIALS.finditer(serial.replace("_", " ").casefold())]


def _says_nothing(serial: str) -> bool:
    digits = serial.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    plain = serial.removeprefix("0X")
    if len(serial) < 3 or len(set(plain)) < 2:
        return True
    if not any(sign.isdigit() for sign in serial):
        # Dell's service tags are seven letters and digits without vowels; one in twenty has no digit.
        return not re.fullmatch("[B-DF-HJ-NP-TV-Z]{7}", serial)
    return _is_in_order(digits) and len(digits) >= (3 if digits == serial else _LEAST_SERIAL)


def _may_be_junk(serial: str) -> bool:
    most = max(serial.count(sign) for sign in set(serial))
    return (
        len(serial) < _LEAST_SERIAL
        or most > _MOSTLY * len(serial)
        or len(set(serial)) < 3
        or not any(sign.isdigit() for sign in serial)
        or any(_is_in_order(serial[n : n + 7]) for n in range(len(serial) - 6))
        or _is_in_order(serial.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    )


def _is_in_order(digits: str) -> bool:
    return len(digits) > 2 and (digits in _UP or digits in _DOWN)
