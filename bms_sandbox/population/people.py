"""Names of people, shared by users and contacts: unique by construction within a set of used pairs."""

from __future__ import annotations

from dataclasses import dataclass

from bms_sandbox.population.draft import Draft
from bms_sandbox.population.naming import disguised

_WESTERN_SHARE = 0.9


@dataclass(frozen=True)
class Person:
    """A person's name, and the number that makes their addresses unique."""

    first: str
    last: str
    number: int

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first} {self.last}"

    def email(self, domain: str) -> str:
        """The person's e-mail address at ``domain``."""
        initials = "".join(
            each[0].lower() for each in (self.first, self.last) if each[0].isascii() and each[0].isalpha()
        )
        return f"{initials or 'p'}{self.number}@{domain}"


def draw_person(draft: Draft, used: set[tuple[int, int, int]], entity: str) -> Person:
    """A person whom nobody in ``used`` resembles; now and then with a hostile name."""
    rng, people = draft.rng, draft.pools.people
    while True:
        script = 0 if rng.random() < _WESTERN_SHARE else 1 + int(rng.random() * (len(people) - 1))
        pool = people[script]
        pair = script, int(rng.random() * len(pool.first)), int(rng.random() * len(pool.last))
        if pair not in used:
            used.add(pair)
            break
    first, last = pool.first[pair[1]], pool.last[pair[2]]
    attack = draft.hostile[entity].turn()
    return Person(first, attack(last) if attack else last, len(used))


def in_disguise(draft: Draft, person: Person, entity: str) -> Person:
    """The same person, now and then written differently but identically."""
    way = draft.disguises[entity].turn()
    if way is None:
        return person
    return Person(disguised(person.first, way), disguised(person.last, way), person.number)
