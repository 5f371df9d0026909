"""Stand-ins for values of each kind: names and texts, e-mail addresses, phone and serial numbers, IPs, dates, notes.

What matching compares of a value stays comparable: two values that match still match, two that do not still do not, and
junk stays junk. Everything is chosen by the key of one bundle; the same value has the same stand-in everywhere in it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum

import duckdb

from bms_pipeline.core import junk
from bms_pipeline.core.entities import Entity, Field
from bms_pipeline.core.junk import Kind
from bms_pipeline.core.mapping import folded_label
from bms_pipeline.support.letters import Word, pieces
from bms_pipeline.support.program_words import program_words
from bms_pipeline.support.words import Words
from bms_pipeline.warehouse import names


class How(StrEnum):
    """How a value is replaced."""

    NAME = "name"
    TEXT = "text"
    EMAIL = "e-mail address"
    PHONE = "phone number"
    SERIAL = "serial number"
    CODE = "code"
    ADDRESS = "IP address"
    DATE = "date"
    NOTES = "notes"
    KEPT = "kept"
    BMS_ID = "BMS id"
    PASSPORTAL_ID = "Passportal id"
    MOMENT = "moment"
    LABEL = "label"
    FLAG = "yes or no"


_BY_KIND = {Kind.EMAIL: How.EMAIL, Kind.PHONE: How.PHONE, Kind.SERIAL: How.SERIAL, Kind.TEXT: How.TEXT}
_BY_NAME = {
    "primary_ip": How.ADDRESS,
    "default_gateway": How.ADDRESS,
    "mac_address": How.CODE,
    "asset_tag": How.CODE,
    "postal_code": How.CODE,
    "notes": How.NOTES,
    "purchase_date": How.DATE,
    "expiration_date": How.DATE,
    "first_name": How.NAME,
    "last_name": How.NAME,
    "primary_contact": How.FLAG,
}

MARKER = re.compile(r"Kaseya BMS ID: \d+")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
_PHONE_WORDS = re.compile(r"x|ext|extension|tel|fax|mobile|phone", re.IGNORECASE)
_EXTENSION = re.compile(r"x|ext|#")
_SERIAL_PARTS = re.compile(r"[^\W_]")
_SERIAL_WORD = re.compile(r"[^\W_]+")
_LEAST = 4
"""Characters from which a word identifies somebody."""
_PUBLIC_LABELS = frozenset(("co", "com", "org", "net", "ac", "gov", "edu", "or", "ne", "go"))
_PRIVATE = re.compile(r"10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|127\.|169\.254\.")
_FLAGS = ("Yes", "No")
"""The words that the pipeline itself writes of a flag of BMS."""
_SHORT_NUMBER = 4
"""A phone number of at most this many digits is an extension, which identifies nobody outside."""
_TRIES = 50
_PHONE_TRIES = 8


def how_to_replace(entity: Entity) -> dict[str, How]:
    """Return column → how its values are replaced, for the columns common to BMS and Passportal."""
    return {"name": How.NAME, **{field.name: _how(field) for field in entity.fields}}


def _how(field: Field) -> How:
    return _BY_NAME.get(field.name, _BY_KIND[field.kind])


class Values:
    """The stand-ins of the values of each kind in ``found``, by ``key``.

    ``hidden``: words no label may show, such as parts of the tenant's name. ``taken``: words never used as a stand-in.
    """

    def __init__(
        self,
        key: bytes,
        found: Mapping[How, Collection[str]],
        hidden: Collection[str] = frozenset(),
        taken: Collection[str] = frozenset(),
    ) -> None:
        self._key = key
        self._hidden = frozenset(hidden)
        self._taken = frozenset(map(str.casefold, taken))
        self._octet_orders: dict[str, list[str]] = {}
        self._digit_orders = [_shuffled("123456789", self._digest(f"digits {number}")) for number in range(256)]
        self._given: dict[tuple[How, str], str] = {}
        self._labels: dict[str, str] = {}
        wordy = {text for how in (How.TEXT, How.FLAG, How.ADDRESS, How.DATE) for text in found.get(how, ())}
        wordy |= {_without_end(email) for email in found.get(How.EMAIL, ())}
        self.words = Words(key, wordy, found.get(How.NAME, ()), taken)
        with duckdb.connect() as connection:
            names.register_functions(connection)
            self._junk_phones = _junk_among(connection, Kind.PHONE, found.get(How.PHONE, ()))
            self._junk_emails = self._choose_junk_emails(connection, found.get(How.EMAIL, ()))
            self._phone_round = self._choose_phone_round(connection, found.get(How.PHONE, ()))
        self._codes: dict[tuple[bool, str], str] = {}
        self._codes_taken: set[tuple[bool, str]] = set()
        self._originals = {_alone(text) for how in (How.SERIAL, How.CODE) for text in found.get(how, ())}
        self.shift = -timedelta(days=30 + int.from_bytes(self._digest("dates")[:2]) % 300)
        self._ways: dict[How, Callable[[str], str]] = {
            How.NAME: self._text,
            How.TEXT: self._text,
            How.EMAIL: self._email,
            How.PHONE: self._phone,
            How.SERIAL: self._serial,
            How.CODE: self._code,
            How.ADDRESS: self._address,
            How.DATE: self._date,
            How.NOTES: _notes,
            How.KEPT: str,
            How.LABEL: self._label,
            How.FLAG: self._flag,
        }

    def stand_in(self, how: How, value: str | None) -> str | None:
        """Return the stand-in of ``value``; None for None."""
        if value is None:
            return None
        known = self._given.get((how, value))
        if known is None:
            known = self._given[how, value] = self._ways[how](value)
        return known

    def moment(self, value: datetime | None) -> datetime | None:
        """Return ``value`` shifted as all dates of the bundle are."""
        return None if value is None else value + self.shift

    def given(self) -> Iterable[tuple[How, str, str]]:
        """Return every value replaced so far, with its stand-in."""
        return ((how, value, standin) for (how, value), standin in self._given.items())

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")

    def _text(self, value: str) -> str:
        if not junk.is_junk_text(value):
            return self.words.stand_in(value)
        selective = "".join(
            piece if isinstance(piece, str) else self._junk_word("".join(sign.written for sign in piece))
            for piece in pieces(value)
        )
        return selective if junk.is_junk_text(selective) else value

    def _flag(self, value: str) -> str:
        """Return BMS's own word as it is; a mapping may have made it a word of the tenant."""
        return value if value in _FLAGS else self._text(value)

    def _label(self, value: str) -> str:
        """Return the label with stand-ins for a few of its words: another one for each label."""
        shown = "".join(piece if isinstance(piece, str) else self._label_word(piece) for piece in pieces(value))
        number, unique = 1, shown
        while self._labels.setdefault(folded_label(unique), folded_label(value)) != folded_label(value):
            number += 1
            unique = f"{shown} {number}"
        return unique

    def _label_word(self, word: Word) -> str:
        written = "".join(sign.written for sign in word)
        if written.casefold() in program_words():
            return written
        if written.casefold() in self._hidden:
            return "x" * len(written)
        return self.words.stand_in(written) if self.words.has(written) else written

    def _junk_word(self, word: str) -> str:
        """Return a word of a placeholder: as it is if placeholders are made of it."""
        is_public = junk.is_junk_text(word) or word.casefold() in junk.WORDS
        return word if is_public else self.words.stand_in(word)

    def _email(self, value: str) -> str:
        if value in self._junk_emails:
            return self._junk_emails[value]
        local, at, domain = value.rpartition("@")
        return f"{self.words.stand_in(local)}{at}{self._host(domain)}"

    def _choose_junk_emails(self, connection: duckdb.DuckDBPyConnection, emails: Collection[str]) -> dict[str, str]:
        """Return placeholder → its stand-in, with as many parts replaced as leave it a placeholder."""
        ways: dict[str, list[str]] = {}
        for email in _junk_among(connection, Kind.EMAIL, emails):
            local, at, domain = email.rpartition("@")
            other, host = self.words.stand_in(local), self._host(domain)
            ways[email] = [f"{other}{at}{host}", f"{local}{at}{host}", f"{other}{at}{domain}", f"{other}{host}"]
        still_junk = _junk_among(connection, Kind.EMAIL, {way for tried in ways.values() for way in tried})
        return {email: next(way for way in tried if way in still_junk) for email, tried in ways.items()}

    def _host(self, domain: str) -> str:
        """Return the host's name with stand-ins, but for the parts in use all over the world."""
        labels = domain.split(".")
        public = 1 if len(labels) > 1 and self._is_public(labels[-1]) else 0
        if public and len(labels) > 2 and labels[-2].casefold() in _PUBLIC_LABELS:
            public = 2
        replaced = [self.words.stand_in(label) for label in labels[: len(labels) - public]]
        return ".".join([*replaced, *labels[len(labels) - public :]])

    def _is_public(self, label: str) -> bool:
        """Return whether the end of a host's name is a country or the like, and no word of the tenant."""
        return len(label) < 4 or not self.words.has(label)

    def _phone(self, value: str) -> str:
        if value in self._junk_phones:
            return self._phone_letters(value)
        return self._phone_letters(self._phone_digits(value, self._phone_round))

    def _phone_letters(self, value: str) -> str:
        return re.sub(
            r"[^\W\d_]+",
            lambda found: found[0] if _PHONE_WORDS.fullmatch(found[0]) else _other_letters(found[0]),
            value,
        )

    def _phone_digits(self, value: str, number: int) -> str:
        """Return ``value`` with other digits: each by those after it, so that equal ends stay equal."""
        match = _EXTENSION.search(value.casefold())
        main, extension = (value[: match.start()], value[match.start() :]) if match else (value, "")
        return self._dialled(main, number) + self._dialled(extension, number)

    def _dialled(self, text: str, number: int) -> str:
        digits = re.findall(r"[0-9]", text)
        if len(digits) <= _SHORT_NUMBER:
            return text
        replaced: list[str] = []
        for place in range(len(digits) - 1, -1, -1):
            after = "".join(digits[place + 1 :])
            replaced.append(self._other_digit(digits[place], f"phone {number} {after}"))
        parts = iter(reversed(replaced))
        return re.sub(r"[0-9]", lambda _: next(parts), text)

    def _other_digit(self, digit: str, context: str) -> str:
        """Return a digit for ``digit``, one to one in each context. 0 stays: zeros in front do not count."""
        if digit == "0":
            return "0"
        return self._digit_orders[self._digest(context)[0]][int(digit) - 1]

    def _choose_phone_round(self, connection: duckdb.DuckDBPyConnection, phones: Collection[str]) -> int:
        """Return the first way to replace digits without turning a real number into a placeholder."""
        real = set(phones) - self._junk_phones
        fewest, best = len(real) + 1, 0
        for number in range(_PHONE_TRIES):
            made = _junk_among(connection, Kind.PHONE, {self._phone_digits(phone, number) for phone in real})
            if len(made) < fewest:
                fewest, best = len(made), number
            if not made:
                break
        return best

    def _serial(self, value: str) -> str:
        wanted = _empties(value)
        if wanted[0] is None:
            letters = re.sub(r"[^\W\d_]+", lambda found: self._junk_serial_word(found[0]), value)
            return letters if _empties(letters)[0] is None else re.sub(r"[^\W_]", "0", value)
        return self._one_to_one(value, is_serial=True)

    def _junk_serial_word(self, word: str) -> str:
        is_public = len(word) < 4 or word.casefold() in junk.WORDS
        return word if is_public else "X" * len(word)

    def _code(self, value: str) -> str:
        return value if junk.is_junk_text(value) else self._one_to_one(value, is_serial=False)

    def _one_to_one(self, value: str, *, is_serial: bool) -> str:
        """Return ``value`` with other letters and digits, by its letters and digits alone: no case, no separators."""
        key = _alone(value)
        known = self._codes.get((is_serial, key))
        if known is None:
            known = self._codes[is_serial, key] = self._chosen_code(value, key, is_serial=is_serial)
            self._codes_taken.add((is_serial, known))
        return _laid_out(value, known)

    def _chosen_code(self, value: str, key: str, *, is_serial: bool) -> str:
        keeps = junk.words_in_serial(value) if is_serial else ()
        kept = {place for first, last in keeps for place in range(first, last)}
        fixed = [place in kept for place, sign in enumerate(value) if _SERIAL_PARTS.fullmatch(sign)]
        # Upper-casing may lengthen a letter (ß): then nothing says which letters are which.
        fixed = fixed if len(fixed) == len(key) else [False] * len(key)
        own = {value[first:last].casefold() for first, last in keeps}
        found: list[str] = []
        for way in (_scrambled, _shifted):
            for attempt in range(_TRIES):
                standin = way(key, fixed, self._digest(f"{way.__name__} {attempt} {key}"))
                shown = _laid_out(value, standin)
                is_new = (is_serial, standin) not in self._codes_taken and standin not in self._originals
                if is_new and (not is_serial or _empties(shown) == _empties(value)):
                    if not self._has_word_of_another(shown, own):
                        return standin
                    found.append(standin)
        return found[0] if found else key  # few letters make few words: of another record by chance, never its own

    def _has_word_of_another(self, shown: str, own: Collection[str]) -> bool:
        """Return whether a stand-in has a word that a record has, by chance; numbers alone are everywhere."""
        words = {word for word in _SERIAL_WORD.findall(shown.casefold()) if len(word) >= _LEAST and not word.isdigit()}
        return not self._taken.isdisjoint(words - set(own))

    def _address(self, value: str) -> str:
        """Return ``value`` with other IPv4 addresses: equal beginnings stay equal, private ones stay private."""
        return "".join(
            self._ip(part) if _IPV4.fullmatch(part) else self._one_to_one(part, is_serial=False)
            for part in re.split(f"({_IPV4.pattern})", value)
        )

    def _ip(self, address: str) -> str:
        private = _PRIVATE.match(address)
        octets = address.split(".")
        kept = private.group().count(".") if private else 0
        replaced = octets[:kept]
        for place in range(kept, 4):
            replaced.append(self._octet(octets[place], ".".join(octets[:place])))
        return ".".join(replaced)

    def _octet(self, octet: str, before: str) -> str:
        if octet not in _OCTETS:  # 0 and 255 mean the network and everybody in it; 300 is no octet
            return octet
        if before not in self._octet_orders:
            self._octet_orders[before] = _shuffled(_OCTETS, self._digest(f"ip {before}"))
        return self._octet_orders[before][int(octet) - 1]

    def _date(self, value: str) -> str:
        shifted = _DATE.sub(lambda found: self._shifted_day(found), value)
        return shifted if shifted != value or _DATE.search(value) else self._one_to_one(value, is_serial=False)

    def _shifted_day(self, found: re.Match[str]) -> str:
        try:
            day = date(*map(int, found.groups()))
        except ValueError:
            return found[0]
        return found[0] if day.year < 1900 else (day + self.shift).isoformat()


_OCTETS = tuple(str(number) for number in range(1, 255))


def _junk_among(connection: duckdb.DuckDBPyConnection, kind: Kind, values: Collection[str]) -> set[str]:
    rows = connection.execute(
        f"SELECT value FROM (SELECT unnest($values::VARCHAR[]) AS value) WHERE {junk.is_junk(kind, 'value')}",
        {"values": sorted(set(values))},
    ).fetchall()
    return {row[0] for row in rows}


def _without_end(email: str) -> str:
    """Return an e-mail address without the last part of its host, which is a country or the like."""
    local, at, domain = email.rpartition("@")
    return f"{local}{at}{domain.rpartition('.')[0] or domain}"


def _alone(text: str) -> str:
    """Return the letters and digits of ``text`` alone, in capitals."""
    return "".join(_SERIAL_PARTS.findall(text.casefold())).upper()


def _empties(serial: str) -> tuple[bool | None, bool | None]:
    """Return which keys a serial number has: what matching makes of it, but for the letters."""
    first, second = junk.serial_keys(serial)
    return (None if first is None else True, None if second is None else True)


def _laid_out(value: str, letters: str) -> str:
    """Return ``letters`` with the separators and the case of ``value``."""
    signs = _SERIAL_PARTS.findall(value)
    if len(signs) != len(letters):
        return letters
    parts = iter(letters)
    return _SERIAL_PARTS.sub(lambda found: _as_before(found[0], next(parts)), value)


def _as_before(sign: str, letter: str) -> str:
    return letter.lower() if sign.islower() else letter


def _scrambled(key: str, fixed: list[bool], source: bytes) -> str:
    """Return other letters for letters, other digits for digits: the same one for the same one."""
    table = str.maketrans({
        **dict(zip(_DIGITS, _shuffled(_DIGITS, source + b"1"), strict=True)),
        **dict(zip(_CONSONANTS, _shuffled(_CONSONANTS, source + b"2"), strict=True)),
        **dict(zip(_VOWELS, _shuffled(_VOWELS, source + b"3"), strict=True)),
    })  # fmt: skip
    return "".join(sign if is_fixed else sign.translate(table) for sign, is_fixed in zip(key, fixed, strict=True))


def _shifted(key: str, fixed: list[bool], source: bytes) -> str:
    """Return a serial number whose digits in order are in order again."""
    by = 1 + source[0] % 9
    shifted = {digit: _DIGITS[(n + by) % 10] for n, digit in enumerate(_DIGITS)}
    turned = {letter: letters[(n + by) % len(letters)] for letters in (_CONSONANTS, _VOWELS)
              for n, letter in enumerate(letters)}  # fmt: skip
    table = str.maketrans({**shifted, **turned})
    return "".join(sign if is_fixed else sign.translate(table) for sign, is_fixed in zip(key, fixed, strict=True))


_DIGITS, _CONSONANTS, _VOWELS = "0123456789", "BCDFGHJKLMNPQRSTVWXYZ", "AEIOU"


def _shuffled(items: Iterable[str], digest: bytes) -> list[str]:
    """Return ``items`` in the order of their ``digest``."""
    stream = hashlib.shake_256(digest)
    found = list(items)
    numbers = stream.digest(4 * len(found))
    for n in range(len(found) - 1, 0, -1):
        other = int.from_bytes(numbers[4 * n : 4 * n + 4]) % (n + 1)
        found[n], found[other] = found[other], found[n]
    return found


def _other_letters(word: str) -> str:
    return "".join("x" if sign in "xX" else "n" for sign in word)


def _notes(value: str) -> str:
    """Return notes without what they say: their lines, their blanks and the marker are left."""
    kept = MARKER.findall(value)
    parts = MARKER.split(value)
    blank = [re.sub(r"\d", "0", re.sub(r"[^\W\d_]", "x", part)) for part in parts]
    return "".join(f"{text}{marker}" for text, marker in zip(blank, [*kept, ""], strict=True))


class Ids:
    """Other numbers for ids, in the same order, by ``key``."""

    def __init__(self, key: bytes, ids: Iterable[int]) -> None:
        stream = hashlib.shake_256(hmac.digest(key, b"ids", "sha256"))
        ordered = sorted(set(ids))
        gaps = stream.digest(len(ordered) + 2)
        self._stand_ins: dict[int, int] = {}
        number = 1_000 + 4 * int.from_bytes(gaps[-2:])
        for found, gap in zip(ordered, gaps, strict=False):
            number += 1 + gap % 8
            self._stand_ins[found] = number

    def stand_in(self, found: int | None) -> int | None:
        """Return the stand-in of the id ``found``; None for None. Raises ``KeyError`` for an unknown id."""
        return None if found is None else self._stand_ins[found]

    def known(self, found: int) -> int | None:
        """Return the stand-in of the id ``found``; None where the bundle does not have it."""
        return self._stand_ins.get(found)

    def in_text(self, text: str | None) -> str | None:
        """Return an id in the form of a text, with its numbers replaced: ``client-12``."""
        if text is None:
            return None
        return re.sub(r"\d+", lambda found: str(self._stand_ins[int(found[0])]), text)

    def given(self) -> Iterable[tuple[int, int]]:
        """Return every id with its stand-in."""
        return self._stand_ins.items()
