"""The words that names and addresses are built from: drawn from Faker once, then only picked.

Every word of a personal name belongs to one pool entry alone. So two people drawn as different pairs never resemble
each other by accident, whatever the word order or the accents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle

from faker import Faker

from bms_sandbox.population.naming import LEGAL_SUFFIXES, loose_words

_WESTERN = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "pl_PL", "cs_CZ", "sv_SE")
# Only these: looking for all that Faker has takes longer than drawing the names.
_PROVIDERS = ["faker.providers.person", "faker.providers.address", "faker.providers.job"]
_OTHER_SCRIPTS = ("ja_JP", "zh_CN", "ko_KR", "ru_RU", "el_GR", "ar_AA", "he_IL", "hi_IN")
LOCATION_KINDS = ("Office", "Warehouse", "Plant", "Depot", "Branch", "Data Centre", "Campus", "Shop", "Laboratory")
_HOSTILE_WORDS = ("script", "alert", "hyperlink", "drop", "table", "clients", "http", "attacker", "invalid")
_RESERVED = {*LEGAL_SUFFIXES, *_HOSTILE_WORDS, *loose_words(" ".join(LOCATION_KINDS)), "and", "main"}


@dataclass(frozen=True)
class NamePool:
    """First and last names that go together."""

    first: tuple[str, ...]
    last: tuple[str, ...]


@dataclass(frozen=True)
class Pools:
    """Everything a tenant is built from. ``people[0]`` is Western, the rest one script each."""

    people: tuple[NamePool, ...]
    streets: tuple[str, ...]
    cities: tuple[str, ...]
    job_titles: tuple[str, ...]


class _DistinctWords:
    """Takes only names none of whose words is in use."""

    def __init__(self) -> None:
        self._taken = set(_RESERVED)

    def collect(self, draw: Callable[[], str], wanted: int) -> list[str]:
        """Up to ``wanted`` names out of four times as many draws."""
        names: list[str] = []
        for _ in range(wanted * 4):
            name = draw()
            words = loose_words(name)
            if words and len(set(words)) == len(words) and self._taken.isdisjoint(words):
                self._taken.update(words)
                names.append(name)
                if len(names) == wanted:
                    break
        return names


@lru_cache
def _unseeded(locale: str) -> Faker:
    return Faker(locale, providers=_PROVIDERS)


def _faker(locale: str, seed: int) -> Faker:
    fake = _unseeded(locale)
    fake.seed_instance(seed)
    return fake


@lru_cache(maxsize=4)
def pools(seed: int) -> Pools:
    """The pools of ``seed``."""
    fakers = {locale: _faker(locale, seed) for locale in (*_WESTERN, *_OTHER_SCRIPTS)}
    distinct = _DistinctWords()
    last = [name for locale in _WESTERN for name in distinct.collect(fakers[locale].last_name, 160)]
    first = [name for locale in _WESTERN for name in distinct.collect(fakers[locale].first_name, 90)]
    people = [NamePool(tuple(first), tuple(last))]
    for locale in _OTHER_SCRIPTS:
        last_names = distinct.collect(fakers[locale].last_name, 40)
        people.append(NamePool(tuple(distinct.collect(fakers[locale].first_name, 40)), tuple(last_names)))
    towns = ["München", "Zürich", "Málaga", "Łódź", "Besançon", "Göteborg", "Córdoba", "Orléans", "Tromsö", "Århus"]
    cities = distinct.collect(cycle(towns).__next__, len(towns))
    cities += distinct.collect(fakers["en_US"].city, 120) + distinct.collect(fakers["de_DE"].city_name, 80)
    english = fakers["en_US"]
    return Pools(
        people=tuple(people),
        streets=tuple(english.street_address() for _ in range(400)),
        cities=tuple(cities),
        job_titles=tuple(english.job() for _ in range(120)),
    )
