"""A list whose every habit is a switch, for tests of where a list ends: a client without a network."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal

from bms_pipeline.bms.client import Page
from bms_pipeline.core.entities import ListCall

Beyond = Literal["empty", "first", "last", "refused"]
"""What a page past the end brings."""
Counts = Literal["list", "nothing", "its page", "fewer", "more", "zero"]
"""What ``totalRecords`` counts."""


@dataclass
class OddList:
    """``records`` ids from 1, at most ``clamp`` a page.

    ``damaged`` pages, counted from 1, bring only ``leaves`` of their records (0: none), ``times`` times.
    """

    records: int
    clamp: int = 100
    beyond: Beyond = "empty"
    counts: Counts = "nothing"
    ignores_number: bool = False
    ignores_size: bool = False
    sends_all: bool = False
    shuffles: bool = False
    damaged: range = range(0)
    leaves: int = 0
    times: int = 10**9
    asked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._left = dict.fromkeys(self.damaged, self.times)
        self._random = random.Random(self.records)

    @property
    def ids(self) -> list[int]:
        return list(range(1, self.records + 1))

    @property
    def hidden(self) -> set[int]:
        """The ids that no call ever brings."""
        return {each for number in self.damaged if self.times > 99 for each in self._page(number, 100)[self.leaves :]}

    def page(self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = 100) -> Page:
        with self._lock:
            self.asked.append(number)
            found = self._page(1 if self.ignores_number else number, size)
            refused = ""
            if not found and number > 1:
                found, refused = self._past_the_end(size)
            if self._left.get(number, 0):
                self._left[number] -= 1
                found = found[: self.leaves]
            return Page(
                number,
                json.dumps([{"id": each} for each in found]).encode(),
                found,
                self._total(found),
                refused=refused,
            )

    def _page(self, number: int, size: int) -> list[int]:
        ids = self.ids
        if self.shuffles:
            self._random.shuffle(ids)
        if self.sends_all:
            return ids if number == 1 else []
        size = self.clamp if self.ignores_size else min(size, self.clamp)
        return ids[(number - 1) * size : number * size]

    def _past_the_end(self, size: int) -> tuple[list[int], str]:
        if self.beyond == "refused":
            return [], "there is no such page"
        if self.beyond == "first":
            return self._page(1, size), ""
        if self.beyond == "empty":
            return [], ""
        size = self.clamp if self.ignores_size else min(size, self.clamp)
        return self._page(1 if self.sends_all else max(1, -(-self.records // size)), size), ""

    def _total(self, found: list[int]) -> int | None:
        counted = {"list": self.records, "its page": len(found), "fewer": self.records - 1, "more": self.records + 1}
        return 0 if self.counts == "zero" else counted.get(self.counts)
