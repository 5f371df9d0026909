"""A list that changes while it is read, for tests of sweeps: a client without a network."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from threading import Lock

from bms_pipeline.bms.client import Page
from bms_pipeline.core.entities import ListCall

SOME = ListCall("accounts", "/v2/crm/accounts/summary", has_total=True, modified_since=True)
UNCOUNTED = ListCall("assets", "/v2/servicedesk/hardwareasset/searchselect", has_total=False, modified_since=False)


class MovingList:
    """Serves pages of ``ids``; ``change`` is called before each answer and may alter them."""

    def __init__(
        self,
        ids: list[int],
        *,
        page_size: int = 100,
        change: Callable[[MovingList], None] | None = None,
    ) -> None:
        self.ids = ids
        self.page_size = page_size
        self.change = change
        self.asked: list[int] = []
        self.next_id = max(ids, default=0) + 1
        self._lock = Lock()

    def page(self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = 100) -> Page:
        with self._lock:
            if self.change is not None and self.asked:
                self.change(self)
            self.asked.append(number)
            size = min(size, self.page_size)
            found = self.ids[(number - 1) * size : number * size]
            total = len(self.ids) if list_call.has_total else None
        return Page(number, json.dumps([{"id": each} for each in found]).encode(), found, total)

    def add(self, position: int) -> None:
        self.ids.insert(position, self.next_id)
        self.next_id += 1

    def remove(self, position: int) -> None:
        del self.ids[position]


def at_random(seed: int, chance: float, *, anywhere: bool = True, pairs: float = 0.0) -> Callable[[MovingList], None]:
    """Between two answers, with ``chance``, add or remove one record; with ``pairs`` of those, do both at once."""
    chooses = random.Random(seed)

    def change(listing: MovingList) -> None:
        if chooses.random() >= chance or not listing.ids:
            return
        both = chooses.random() < pairs
        remove = chooses.random() < 0.5
        if both or remove:
            listing.remove(chooses.randrange(len(listing.ids)))
        if both or not remove:
            listing.add(chooses.randrange(len(listing.ids) + 1) if anywhere else len(listing.ids))

    return change
