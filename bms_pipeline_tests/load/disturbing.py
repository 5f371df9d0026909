"""Passportals that misbehave, around one that does not."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from bms_pipeline.core.entities import Entity
from bms_pipeline.core.errors import ServiceUnreachable
from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.passportal.embedded import EmbeddedPassportal
from bms_pipeline.passportal.target import Leaving, Write, Written, unmarked

Fault = Literal["", "before", "after"]
"""A call fails before it takes effect, or after it: the caller cannot tell which."""
GRACE_SECONDS = 300.0
"""How long a service may still carry out what it did not answer."""
_T = TypeVar("_T")


class Passing:
    """A target that passes every call on and remembers it; subclasses misbehave in ``call``."""

    def __init__(self, inner: EmbeddedPassportal, batch_size: int = 1000) -> None:
        self.inner = inner
        self.batch_size = batch_size
        self.name = inner.name
        self.can_write, self.can_list = inner.can_write, inner.can_list
        self.can_link = inner.can_link
        self.unknown_seconds = 0.0
        self.calls: list[tuple[str, str, tuple[int, ...]]] = []
        """(verb, entity, BMS ids)."""

    def call(self, verb: str, entity: Entity, writes: Sequence[Write], go: Callable[[], _T]) -> _T:
        """Do it."""
        self.calls.append((verb, entity.name, tuple(each.bms_id for each in writes)))
        return go()

    def close(self) -> None:
        """See ``Target.close``."""

    def last_write_at(self) -> datetime | None:
        """See ``Target.last_write_at``."""
        return None

    def snapshot(self, entity: Entity, file: Path) -> None:
        """See ``Target.snapshot``."""
        self.call("snapshot", entity, (), lambda: self.inner.snapshot(entity, file))

    def create(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.create``."""
        leaving([each.bms_id for each in writes])
        return self.call("create", entity, writes, lambda: self.inner.create(entity, writes))

    def update(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.update``."""
        leaving([each.bms_id for each in writes])
        return self.call("update", entity, writes, lambda: self.inner.update(entity, writes))

    def find(self, entity: Entity, writes: Sequence[Write]) -> dict[int, str]:
        """See ``Target.find``."""
        return self.call("find", entity, writes, lambda: self.inner.find(entity, writes))


class Failing(Passing):
    """Fails at the calls that ``faults`` says, (verb, entity) → when; each once."""

    def __init__(self, inner: EmbeddedPassportal, faults: dict[tuple[str, str], Fault], batch_size: int = 1000) -> None:
        super().__init__(inner, batch_size)
        self.faults = dict(faults)

    def call(self, verb: str, entity: Entity, writes: Sequence[Write], go: Callable[[], _T]) -> _T:
        """Do it, or not, or do it and lose the answer."""
        fault = self.faults.pop((verb, entity.name), "")
        return _disturbed(fault, lambda: super(Failing, self).call(verb, entity, writes, go))


class RandomlyFailing(Passing):
    """Fails at one call in three, ``faults`` times."""

    def __init__(self, inner: EmbeddedPassportal, seed: int, faults: int, batch_size: int) -> None:
        super().__init__(inner, batch_size)
        self.random = random.Random(seed)
        self.left = faults

    def call(self, verb: str, entity: Entity, writes: Sequence[Write], go: Callable[[], _T]) -> _T:
        """Do it, or not, or do it and lose the answer."""
        fault = self.random.choice(("", "", "", "", "before", "after")) if self.left else ""
        self.left -= bool(fault)
        return _disturbed(fault, lambda: super(RandomlyFailing, self).call(verb, entity, writes, go))


class Refusing(Passing):
    """Refuses the writes of some records, and does the others."""

    def __init__(self, inner: EmbeddedPassportal, entity: str, *bms_ids: int) -> None:
        super().__init__(inner)
        self.entity, self.bms_ids = entity, bms_ids

    def create(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.create``."""
        refused = {each.bms_id for each in writes if entity.name == self.entity and each.bms_id in self.bms_ids}
        done = {
            each.bms_id: each
            for each in super().create(entity, [w for w in writes if w.bms_id not in refused], leaving)
        }
        return [done.get(w.bms_id, Written(w.bms_id, Outcome.REFUSED, "the service says no")) for w in writes]


class Killed(BaseException):
    """The process dies here."""


class Dying(Passing):
    """Dies at the first call of a verb on an entity, before or after it took effect."""

    def __init__(self, inner: EmbeddedPassportal, verb: str, entity: str, when: Fault) -> None:
        super().__init__(inner, batch_size=2)
        self.deadly, self.when = (verb, entity), when

    def call(self, verb: str, entity: Entity, writes: Sequence[Write], go: Callable[[], _T]) -> _T:
        """Do it, or die."""
        if (verb, entity.name) == self.deadly and self.when == "before":
            raise Killed
        done = super().call(verb, entity, writes, go)
        if (verb, entity.name) == self.deadly:
            raise Killed
        return done


class Slow(Passing):
    """Loses the answers to the creates of some records, each once; ``deliver`` lets them arrive after all.

    It is a service, so a write may be under way for some minutes.
    """

    def __init__(self, inner: EmbeddedPassportal, *lost: tuple[str, int], batch_size: int = 2) -> None:
        super().__init__(inner, batch_size)
        self.unknown_seconds = GRACE_SECONDS
        self.lost = set(lost)
        self.under_way: list[tuple[Entity, Write]] = []

    def last_write_at(self) -> datetime | None:
        """See ``Target.last_write_at``."""
        return datetime.now(UTC).replace(tzinfo=None)

    def create(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """Create what is not lost; each is lost once."""
        lost = [each for each in writes if (entity.name, each.bms_id) in self.lost]
        leaving([each.bms_id for each in lost])
        self.lost -= {(entity.name, each.bms_id) for each in lost}
        self.under_way += [(entity, each) for each in lost]
        answered = super().create(entity, [each for each in writes if each not in lost], leaving)
        return [*answered, *(Written(each.bms_id, Outcome.UNKNOWN, "no answer in time") for each in lost)]

    def deliver(self) -> None:
        """What was under way arrives."""
        for entity, write in self.under_way:
            self.inner.create(entity, [write])
        self.under_way.clear()


def _disturbed(fault: str, go: Callable[[], _T]) -> _T:
    if fault == "before":
        raise ServiceUnreachable("the connection was reset")
    answer = go()
    if fault == "after":
        raise ServiceUnreachable("no answer in time")
    return answer
