"""What makes two names the same, nearly the same, or hostile.

``name_key`` decides identity and ``loose_key`` resemblance; ``DISGUISES`` change the characters of a name but not its
key, the ``nearly`` functions change its key but not its loose key, and ``HOSTILE`` wraps a name in an attack.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from random import Random

LEGAL_SUFFIXES = (
    "ltd",
    "limited",
    "inc",
    "llc",
    "gmbh",
    "corp",
    "corporation",
    "co",
    "company",
    "plc",
    "ag",
    "bv",
    "sa",
    "pty",
)  # fmt: skip
_SPELLED_SUFFIXES = ("Ltd", "Limited", "Inc", "LLC", "GmbH", "Corp", "Corporation", "Company", "PLC", "AG", "BV", "Pty")
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
_NOT_WORD = re.compile(r"[\W_]+")


def name_key(name: str | None) -> str:
    """Names with the same non-empty key are identical."""
    return " ".join(unicodedata.normalize("NFKC", name or "").casefold().split())


def without_accents(name: str) -> str:
    """``name`` without its combining marks."""
    parts = unicodedata.normalize("NFKD", name)
    return unicodedata.normalize("NFC", "".join(each for each in parts if not unicodedata.combining(each)))


def loose_words(name: str | None) -> list[str]:
    """The words of ``name`` that resemblance looks at, in order: no accents, punctuation or legal suffixes."""
    plain = without_accents(name_key(name)).replace("&", " and ")
    return [word for word in _NOT_WORD.sub(" ", plain).split() if word not in LEGAL_SUFFIXES]


def loose_key(name: str | None) -> str:
    """Names with the same loose key may be the same for a person."""
    return " ".join(sorted(loose_words(name)))


def _full_width(name: str) -> str:
    return name.translate(_FULL_WIDTH)


def _decomposed(name: str) -> str:
    return unicodedata.normalize("NFD", name)


DISGUISES: tuple[Callable[[str], str], ...] = (
    lambda name: f"{name} ",
    lambda name: name.replace(" ", "  ") if " " in name else f"  {name}",
    str.upper,
    _decomposed,
    _full_width,
    str.lower,
    lambda name: name.replace(" ", "\u00a0") if " " in name else f"{name}\t",
)
"""Ways to write a name differently that leave it identical: blanks, case, NFD, full width."""


def disguised(name: str, way: Callable[[str], str] | None) -> str:
    """``name`` written differently but identical; unchanged where ``way`` is none or would change its key."""
    if way is None:
        return name
    other = way(name)
    return other if name_key(other) == name_key(name) else name


HOSTILE: tuple[Callable[[str], str], ...] = (
    lambda name: f"<script>alert('{name}')</script>",
    lambda name: f'=HYPERLINK("http://attacker.invalid","{name}")',
    lambda name: f"'; DROP TABLE clients; -- {name}",
    lambda name: f"\u202e{name}\u202c",
    lambda name: f"{name}\u200b",
)
"""Names that attack a page, a spreadsheet, a statement or the eye."""


def nearly_company(rng: Random, name: str) -> str:
    """The same company under a near-identical name: suffix, ampersand, punctuation or word order."""
    ways = list(_company_variants(rng, name))
    rng.shuffle(ways)
    return _first_near(name, [*ways, f"{name} {rng.choice(_SPELLED_SUFFIXES)}"])


def _company_variants(rng: Random, name: str) -> Iterator[str]:
    words = name.split(" ")
    has_suffix = words[-1].casefold().strip(".") in LEGAL_SUFFIXES
    stem, suffix = (words[:-1], words[-1:]) if has_suffix else (words, [])
    yield " ".join(stem) if has_suffix else f"{name} {rng.choice(_SPELLED_SUFFIXES)}"
    yield " ".join([*stem, rng.choice(_SPELLED_SUFFIXES)])
    yield name.replace("&", "and") if "&" in name else name.replace(" and ", " & ")
    yield f"{' '.join(stem)}, {suffix[0]}." if has_suffix else name.replace(" ", ", ", 1)
    yield name.replace("-", " ")
    yield name.replace("'", "")
    if "&" not in name and " and " not in name:
        yield " ".join([*stem[1:], stem[0], *suffix])


def nearly_person(rng: Random, first: str, last: str) -> str:
    """The same person as ``Last, First`` or without accents."""
    ways = [f"{last}, {first}"]
    if "LATIN" in unicodedata.name(last[0], ""):
        ways.append(without_accents(f"{first} {last}"))
    rng.shuffle(ways)
    return _first_near(f"{first} {last}", [*ways, f"{last}, {first}"])


def nearly_location(rng: Random, name: str) -> str:
    """The same location with other punctuation or without accents."""
    ways = [without_accents(name), name.replace(" ", ", ", 1), name.replace(" ", " - ", 1), f"{name}."]
    rng.shuffle(ways)
    return _first_near(name, ways)


def nearly_asset(rng: Random, name: str) -> str:
    """The same asset with a blank, a dot or an underscore where it had a hyphen."""
    return _first_near(name, [name.replace("-", rng.choice(" ._"))])


def _first_near(name: str, candidates: list[str]) -> str:
    """The first candidate that is not identical to ``name`` but resembles it."""
    for candidate in candidates:
        if name_key(candidate) != name_key(name) and loose_key(candidate) == loose_key(name):
            return candidate
    raise ValueError(f"no near-identical form of {name!r}")
