"""One tenant's life from its seed, number and habits, with the line that replays it."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bms_pipeline_tests.stranger.habits import HABITS, Mixture, drawn, mixture, promises
from bms_pipeline_tests.stranger.living import living
from bms_pipeline_tests.stranger.oracle import Story, live
from bms_pipeline_tests.stranger.tenants import tenant

SMALL, LARGE = 50, 300
REFUSED_EVERY = 10
"""One tenant of so many has a habit that the users' page lists as refused."""


@dataclass
class Told:
    """One tenant's story, and what is wrong with it."""

    label: str
    habits: tuple[str, ...]
    story: Story
    faults: list[str]
    said: str

    @property
    def replay(self) -> str:
        """The command that tells this story once more."""
        return f"python -m bms_pipeline_tests.stranger {self.label}"

    def __str__(self) -> str:
        how = "loaded" if self.story.loaded else f"refused: {self.story.refused.splitlines()[-2:]}"
        return "\n  ".join((f"{self.replay}\n  habits: {'; '.join(self.habits)}\n  {how}", *self.faults[:8]))


@dataclass
class Score:
    """How many tenants of a run loaded."""

    tenants: list[Told] = field(default_factory=list)

    @property
    def share(self) -> float:
        """The share of tenants that loaded."""
        return sum(told.story.loaded for told in self.tenants) / len(self.tenants)

    def __str__(self) -> str:
        count = Counter(
            "wrong" if told.faults else "loaded" if told.story.loaded else "refused" for told in self.tenants
        )
        return f"{len(self.tenants)} tenants: {dict(count)}, {self.share:.0%} load"


def _size(chance: random.Random, largest: int) -> int:
    return chance.randint(SMALL, largest)


def mixed(run_seed: int, number: int, largest: int = LARGE, *, whole: bool = True) -> Told:
    """The tenant of this seed and number, with the habits that they draw."""
    chance = random.Random(f"habits {run_seed}:{number}")
    habits = drawn(chance, promises(), refused=number % REFUSED_EVERY == REFUSED_EVERY - 1)
    return _told(
        run_seed,
        number,
        f"{run_seed}:{number}:{largest}{'' if whole else ':short'}",
        habits,
        _size(chance, largest),
        whole=whole,
    )


def alone(run_seed: int, name: str, largest: int = 120) -> Told:
    """A tenant of this seed with one habit."""
    habit = next(habit for habit in HABITS if habit.name == name)
    chance = random.Random(f"alone {run_seed}:{name}")
    return _told(run_seed, chance.randrange(10**6), f'{run_seed} "{name}"', mixture(habit), _size(chance, largest))


def _told(run_seed: int, number: int, label: str, habits: Mixture, size: int, *, whole: bool = True) -> Told:
    with (
        tempfile.TemporaryDirectory() as folder,
        living(
            Path(folder) / "home", tenant(run_seed, number, size), habits.bms, habits.passportal, **habits.environment
        ) as person,
    ):
        story = live(person, with_details=habits.details, whole=whole)
        said = person.said()
    return Told(label, habits.names, story, list(_faults(story, habits.names)), said)


def _faults(story: Story, names: Iterable[str]) -> Iterable[str]:
    """What is wrong: a promise that was broken, or a refusal that the users' page does not list."""
    yield from story.violations
    page = promises()
    listed = [page[name] for name in names if page[name].verdict == "refused"]
    if not listed and not story.loaded and not story.violations:
        yield f"a refusal that the users' page does not list: {story.refused}"
    if len(listed) == len(list(names)) == 1 and not story.violations:
        if story.loaded:
            yield "it loads, and the users' page lists it as refused"
        elif " ".join(listed[0].words.split()) not in " ".join(story.refused.split()):
            yield f"the user reads something else than the page says: {story.refused}"
