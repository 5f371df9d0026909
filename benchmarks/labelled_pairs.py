"""Made-up records whose true partner is known: what suggestions are measured and tested with.

Everything follows from a seed. The left side is what BMS lists, the right side what somebody typed into Passportal.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass

from faker.providers.person import de_DE, en_GB, en_IE, en_US, es_ES, fi_FI, fr_FR, it_IT, nl_NL, sv_SE

Record = dict[str, str | None]
"""Column → value; ``name`` is always there."""


@dataclass(frozen=True)
class Labelled:
    """Both sides, each in an order of its own: ``partner[n]`` is the position on the right of ``left[n]``."""

    left: list[Record]
    right: list[Record]
    partner: list[int]


TRADES = (
    "Accounting", "Advisors", "Architects", "Automotive", "Bakery", "Brewing", "Builders", "Carpentry", "Catering",
    "Chemicals", "Cleaning", "Clinic", "Construction", "Consulting", "Dental", "Design", "Distribution", "Electric",
    "Energy", "Engineering", "Equipment", "Farms", "Financial", "Flooring", "Foods", "Freight", "Furniture", "Glass",
    "Health", "Heating", "Holdings", "Hotels", "Insurance", "Interiors", "International", "Investments", "Jewelers",
    "Laboratories", "Landscaping", "Law", "Legal", "Logistics", "Lumber", "Management", "Manufacturing", "Marine",
    "Marketing", "Media", "Medical", "Metals", "Motors", "Nurseries", "Optics", "Packaging", "Partners", "Pharmacy",
    "Photography", "Plastics", "Plumbing", "Printing", "Properties", "Publishing", "Realty", "Recycling",
    "Refrigeration", "Roofing", "Security", "Services", "Software", "Solutions", "Steel", "Supply", "Systems",
    "Technologies", "Textiles", "Tools", "Transport", "Travel", "Veterinary", "Warehousing", "Wines",
)  # fmt: skip
FANCIES = (
    "Alpine", "Anchor", "Apex", "Atlas", "Beacon", "Blue Ridge", "Bluewater", "Bright", "Capital", "Cardinal",
    "Cascade", "Cedar", "Clearview", "Coastal", "Copper", "Crescent", "Crown", "Diamond", "Eagle", "Eastern", "Elm",
    "Emerald", "Evergreen", "Falcon", "First", "Frontier", "Global", "Golden", "Granite", "Green Valley", "Harbor",
    "Heritage", "Highland", "Horizon", "Iron", "Keystone", "Lakeside", "Liberty", "Lighthouse", "Maple", "Meridian",
    "Metro", "Midland", "Mountain", "National", "Northern", "Northstar", "Oak", "Ocean", "Old Town", "Orchard",
    "Pacific", "Paramount", "Pine", "Pinnacle", "Pioneer", "Prairie", "Premier", "Prime", "Quantum", "Red Rock",
    "Redwood", "Ridge", "River", "Rocky", "Royal", "Sierra", "Silver", "Southern", "Sterling", "Stone", "Summit",
    "Sun", "Superior", "Tri-State", "Trident", "Union", "United", "Vanguard", "Vertex", "Vista", "Western", "Willow",
)  # fmt: skip
SUFFIXES = (
    "",
    "",
    "Inc",
    "Inc.",
    "LLC",
    "Ltd",
    "Ltd.",
    "Limited",
    "Corp",
    "Corporation",
    "Co",
    "Company",
    "GmbH",
    "PLC",
)
SHORT = {
    "Accounting": "Acctg", "Associates": "Assoc", "Construction": "Constr", "Distribution": "Dist",
    "Engineering": "Eng", "Equipment": "Equip", "Financial": "Fin", "Insurance": "Ins", "International": "Intl",
    "Laboratories": "Labs", "Management": "Mgmt", "Manufacturing": "Mfg", "Medical": "Med", "National": "Natl",
    "Northern": "N", "Properties": "Props", "Services": "Svcs", "Southern": "S", "Systems": "Sys",
    "Technologies": "Tech", "Transport": "Trans",
}  # fmt: skip
ACCENTS = str.maketrans("aeioucn", "áéíöüçñ")
TITLES = (
    "Accountant", "Administrator", "Bookkeeper", "Buyer", "Controller", "Director", "Engineer", "Foreman", "Manager",
    "Nurse", "Office Manager", "Owner", "Partner", "Receptionist", "Sales Representative", "Technician",
)  # fmt: skip
LAST_NAMES, LAST_NAME_WEIGHTS = zip(*sorted(en_US.Provider.last_names.items()), strict=True)
FIRST_NAMES, FIRST_NAME_WEIGHTS = zip(*sorted(en_US.Provider.first_names.items()), strict=True)
FOUNDERS = sorted(
    {
        name
        for locale in (de_DE, en_GB, en_IE, en_US, es_ES, fi_FI, fr_FR, it_IT, nl_NL, sv_SE)
        for name in locale.Provider.last_names
    }
)
"""Some 8,000 names: companies are named more variously than the people of one country."""


def companies(count: int, seed: int = 1) -> Labelled:
    """``count`` company names; on the right each written differently, and a tenth more that are nobody's."""
    draw = random.Random(seed)
    chosen: dict[str, str] = {}
    while len(chosen) < count + count // 10:
        name = _company(draw)
        chosen.setdefault(" ".join(sorted(name.lower().split())), name)
    names = [_with_suffix(draw, each) for each in chosen.values()]
    right: list[Record] = [{"name": _rewritten(draw, each)} for each in names[:count]]
    right += [{"name": each} for each in names[count:]]
    return _shuffled(draw, [{"name": each} for each in names[:count]], right)


def _company(draw: random.Random) -> str:
    last, other, third = draw.choices(FOUNDERS, k=3)
    fancy, trade, second_trade = draw.choice(FANCIES), *draw.choices(TRADES, k=2)
    letters = "".join(draw.choices(string.ascii_uppercase, k=3))
    return draw.choice(
        (
            f"{last} {trade}",
            f"{last} {trade} {second_trade}",
            f"{last} & {other}",
            f"{last}, {other} and {third}",
            f"{last} & {other} {trade}",
            f"{fancy} {other} {second_trade}",
            f"{fancy} {last} {trade}",
            f"{letters} {last} {trade}",
            f"{last} & Sons {trade}",
        )
    )


def _with_suffix(draw: random.Random, name: str) -> str:
    return f"{name} {draw.choice(SUFFIXES)}".strip()


def _rewritten(draw: random.Random, name: str) -> str:
    """The name as another person writes it: one or two changes."""
    for change in draw.sample(CHANGES, k=draw.choice((1, 1, 2))):
        name = change(draw, name)
    return name


def _other_suffix(draw: random.Random, name: str) -> str:
    words = name.split()
    return _with_suffix(draw, " ".join(words[:-1] if words[-1] in SUFFIXES else words))


def _typo(draw: random.Random, text: str) -> str:
    """One letter left out, doubled, replaced or swapped with the next."""
    letter = draw.choice(string.ascii_lowercase)
    if len(text) < 2:
        return text + letter
    at = draw.randrange(len(text) - 1)
    return draw.choice(
        (
            text[:at] + text[at + 1 :],
            text[:at] + text[at] + text[at:],
            text[:at] + letter + text[at + 1 :],
            text[:at] + text[at + 1] + text[at] + text[at + 2 :],
        )
    )


def _two_typos(draw: random.Random, name: str) -> str:
    return _typo(draw, _typo(draw, name))


def _reordered(draw: random.Random, name: str) -> str:
    words = name.replace(",", "").split()
    draw.shuffle(words)
    return " ".join(words)


def _word_dropped(draw: random.Random, name: str) -> str:
    words = name.split()
    if len(words) > 3:
        del words[draw.randrange(1, len(words))]
    return " ".join(words).strip(" &,")


def _shortened(_: random.Random, name: str) -> str:
    return " ".join(SHORT.get(each, each) for each in name.split())


def _and_written_otherwise(_: random.Random, name: str) -> str:
    return name.replace(" & ", " and ") if "&" in name else name.replace(" and ", " & ")


def _punctuated(draw: random.Random, name: str) -> str:
    return draw.choice((name.replace(" ", "-", 1), name.replace(" ", ", ", 1), name.upper(), f"{name}."))


def _accented(draw: random.Random, name: str) -> str:
    at = draw.randrange(len(name))
    return name[:at] + name[at:].translate(ACCENTS)


CHANGES: tuple[Callable[[random.Random, str], str], ...] = (
    _typo,
    _typo,
    _two_typos,
    _other_suffix,
    _other_suffix,
    _reordered,
    _word_dropped,
    _shortened,
    _and_written_otherwise,
    _punctuated,
    _accented,
)


def people(count: int, seed: int = 1) -> Labelled:
    """``count`` persons in the manner of Febrl 4: on the right a typo or more in half of the names.

    E-mail, phone and job title are there on some and differ on some of those.
    """
    draw = random.Random(seed)
    left = [_person(draw) for _ in range(count)]
    return _shuffled(
        draw, [_partly(draw, each) for each in left], [_partly(draw, _retyped(draw, each)) for each in left]
    )


def _person(draw: random.Random) -> Record:
    first = draw.choices(FIRST_NAMES, FIRST_NAME_WEIGHTS)[0]
    last = draw.choices(LAST_NAMES, LAST_NAME_WEIGHTS)[0]
    return {
        "first_name": first,
        "last_name": last,
        "email": _email(draw, first, last),
        "phone": f"+1 {draw.randrange(200, 990)} {draw.randrange(200, 990)} {draw.randrange(10_000):04}",
        "job_title": draw.choice(TITLES),
    }


def _email(draw: random.Random, first: str, last: str) -> str:
    local = draw.choice((f"{first}.{last}", f"{first[0]}{last}", f"{first}{draw.randrange(100)}"))
    return f"{local}@{draw.choice(LAST_NAMES)}.example".lower()


def _retyped(draw: random.Random, person: Record) -> Record:
    """The person as somebody else entered it."""
    first, last = person["first_name"] or "", person["last_name"] or ""
    email, phone = person["email"] or "", person["phone"] or ""
    kind = draw.random()
    if kind < 0.25:
        first = _typo(draw, first)
    elif kind < 0.5:
        last = _typo(draw, last)
    elif kind < 0.6:
        first, last = _two_typos(draw, first), _typo(draw, last)
    elif kind < 0.65:
        first, last = last, first
    elif kind < 0.75:
        first = f"{first[0]}."
    new_email = draw.choices((email, _typo(draw, email), _email(draw, first, last)), (0.7, 0.1, 0.2))[0]
    new_phone = phone.removeprefix("+1 ").replace(" ", draw.choice("-. "))
    other_phone = f"{draw.randrange(200, 990)} {draw.randrange(200, 990)} {draw.randrange(10_000):04}"
    return {
        "first_name": first,
        "last_name": last,
        "email": new_email,
        "phone": draw.choices((new_phone, other_phone), (0.8, 0.2))[0],
        "job_title": draw.choices((person["job_title"], draw.choice(TITLES)), (0.8, 0.2))[0],
    }


def _partly(draw: random.Random, person: Record) -> Record:
    """Not everything was known, or entered."""
    known = {"first_name": 1.0, "last_name": 1.0, "email": 0.75, "phone": 0.65, "job_title": 0.6}
    kept = {column: value if draw.random() < known[column] else None for column, value in person.items()}
    return {"name": f"{person['first_name']} {person['last_name']}", **kept}


def _shuffled(draw: random.Random, left: list[Record], right: list[Record]) -> Labelled:
    order = list(range(len(right)))
    draw.shuffle(order)
    position = {old: new for new, old in enumerate(order)}
    return Labelled(left, [right[each] for each in order], [position[each] for each in range(len(left))])
