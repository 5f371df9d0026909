"""A tenant in the making: rows of both sides, the truth about them, and the ids handed out so far."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Generic, Literal, TypeVar

import msgspec

from bms_pipeline.core.entities import BY_NAME, ENTITIES, LIST_CALLS
from bms_sandbox.population.naming import DISGUISES, HOSTILE
from bms_sandbox.population.pools import Pools, pools
from bms_sandbox.population.truth import EntityTruth, Paired, Single, Truth
from bms_sandbox.records import Record, Stamped

EPOCH = datetime(2026, 1, 1)
"""The tenant's present: nothing in it is younger."""
TENANT_NAME = "Sandbox MSP"

_PASSPORTAL_IDS = {
    "clients": 10_000_000,
    "users": 20_000_000,
    "locations": 30_000_000,
    "contacts": 40_000_000,
    "assets": 50_000_000,
}
"""Where the ids begin: numbers, as the real service has them, and no document has the id of another."""
_ENCODER = msgspec.json.Encoder()

T = TypeVar("T")
ClientStanding = Literal["identical", "near", "ambiguous", "new", "out_of_scope"]


class Rota(Generic[T]):
    """Gives each item its turn, one every so many calls, and nothing in between."""

    def __init__(self, items: Sequence[T], every: int) -> None:
        self._items = items
        self._every = every
        self._calls = 0

    def turn(self) -> T | None:
        """The next item if it is due."""
        self._calls += 1
        round_, rest = divmod(self._calls, self._every)
        return None if rest else self._items[(round_ - 1) % len(self._items)]


@dataclass
class Client:
    """One account while its children are being made.

    ``passportal_id``: where its children are kept in Passportal, if it is there at all. ``used`` holds what makes the
    names of its children unique.
    """

    account_id: int
    name: str
    standing: ClientStanding
    passportal_id: str | None
    domain: str
    prefix: str
    children: dict[str, int] = field(default_factory=dict)
    location_names: list[tuple[int, str | None]] = field(default_factory=list)
    used: set[tuple[int, int, int]] = field(default_factory=set)
    assets_named: int = 0

    @property
    def verdict(self) -> Single | None:
        """What holds for all its active children alike; none where each is looked at."""
        verdicts: dict[ClientStanding, Single] = {
            "near": "blocked",
            "ambiguous": "blocked",
            "new": "new",
            "out_of_scope": "out_of_scope",
        }
        return verdicts.get(self.standing)


@dataclass(frozen=True)
class Scenario:
    """A situation that reconciliation must get right.

    ``play`` makes it inside a client, from ``records`` BMS records; ``weight`` is its share among the scenarios.
    """

    play: Callable[[Client], None]
    records: int
    weight: float


class Casting:
    """Chooses the next scenario: each once first, so that even a small tenant shows all, then by weight."""

    def __init__(self, rng: Random, scenarios: Sequence[Scenario]) -> None:
        self._rng = rng
        self._scenarios = scenarios
        self._cumulative = [sum(each.weight for each in scenarios[: n + 1]) for n in range(len(scenarios))]
        self._waiting = deque(scenarios)

    def fill(self, client: Client, count: int) -> None:
        """Play scenarios in ``client`` until they used up ``count`` BMS records."""
        while count > 0:
            scenario = self._next(count)
            scenario.play(client)
            count -= scenario.records

    def finish(self, client: Client) -> None:
        """Play what nobody had room for."""
        while self._waiting:
            self._waiting.popleft().play(client)

    def _next(self, room: int) -> Scenario:
        if self._waiting and self._waiting[0].records <= room:
            return self._waiting.popleft()
        while True:
            (scenario,) = self._rng.choices(self._scenarios, cum_weights=self._cumulative)
            if scenario.records <= room:
                return scenario


class Draft:
    """Collects what the population makes."""

    def __init__(self, size: str, seed: int) -> None:
        self.rng = Random(f"{seed}/{size}")
        self.pools: Pools = pools(seed)
        self.rows: dict[str, list[bytes]] = {each.name: [] for each in LIST_CALLS}
        self.passportal: dict[str, list[bytes]] = {each.name: [] for each in ENTITIES}
        self.truth = Truth(size, seed, {each.name: EntityTruth() for each in ENTITIES})
        self.disguises = {each.name: Rota(DISGUISES, every=9) for each in ENTITIES}
        self.hostile = {
            each.name: Rota(HOSTILE, every=12 if each.list_call.name == "accounts" else 37) for each in ENTITIES
        }
        self._ids: Counter[str] = Counter()
        self._stamps = [
            (EPOCH - timedelta(seconds=self.rng.randrange(1, 5 * 365 * 86400))).isoformat() for _ in range(20_000)
        ]
        self._stamps.sort()

    def new_id(self, kind: str) -> int:
        """The next BMS id of ``kind``, with gaps; ids of different kinds overlap as in any database."""
        self._ids[kind] += 1 if self.rng.random() < 0.9 else self.rng.randrange(2, 9)
        return 100 + self._ids[kind]

    def chance(self, share: float) -> bool:
        """True in ``share`` of the calls."""
        return self.rng.random() < share

    def pick(self, choices: Sequence[T]) -> T:
        """One of ``choices``."""
        return choices[int(self.rng.random() * len(choices))]

    def stamp(self) -> str:
        """A moment before the epoch: ISO, no zone."""
        return self.pick(self._stamps)

    def sign(self, record: Stamped) -> None:
        """Say who made and last changed ``record``, and when."""
        created, modified = sorted((int(self.rng.random() * 20_000), int(self.rng.random() * 20_000)))
        record.created_by = int(self.rng.random() * 9) + 1
        record.created_on = self._stamps[created]
        if not self.chance(0.03):
            record.modified_by = int(self.rng.random() * 9) + 1
        record.modified_on = self._stamps[modified]

    def add(self, list_name: str, record: Record) -> None:
        """BMS has ``record``."""
        self.rows[list_name].append(record.encode())

    def hold(self, entity: str, client_id: str | None, values: Mapping[str, str | None]) -> str:
        """Passportal has a record with these columns; its id."""
        self._ids[f"passportal {entity}"] += 1
        passportal_id = str(_PASSPORTAL_IDS[entity] + self._ids[f"passportal {entity}"])
        row: dict[str, str | None] = {"passportal_id": passportal_id, "client_id": client_id}
        for column in BY_NAME[entity].columns:
            row[column] = values.get(column)
        self.passportal[entity].append(_ENCODER.encode(row))
        return passportal_id

    def pair(self, entity: str, category: Paired, bms_id: int, passportal_id: str) -> None:
        """Truth: these two are the same record."""
        self.truth.entities[entity].pair(category, bms_id, passportal_id)

    def put(self, entity: str, category: Single, bms_id: int) -> None:
        """Truth: this BMS record has no one counterpart."""
        self.truth.entities[entity].put(category, bms_id)

    def shuffle(self) -> None:
        """Leave no hint in the order of anything."""
        for rows in (*self.rows.values(), *self.passportal.values()):
            self.rng.shuffle(rows)
