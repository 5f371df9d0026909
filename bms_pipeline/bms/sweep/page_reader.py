"""Read pages of one sweep, several at a time. Pages go to disk; only their ids stay in memory.

``PageReader`` fetches, saves and counts, and remembers the newest ids of each page. It knows nothing of order or proof;
those are in ``sweep``. The thread that fetched a page also saves and forgets it, so memory holds at most one page a
connection.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy

from bms_pipeline.bms.client import PAGE_SIZE, Page
from bms_pipeline.bms.sweep import page_files
from bms_pipeline.bms.sweep.manifest import QuarantinedRecord
from bms_pipeline.core.entities import ListCall

OnProgress = Callable[[int, int | None], None]
"""Called with the number of records read so far and the number of all records, if known."""


class ReadsPages(Protocol):
    """The part of the client for sweeps."""

    def page(
        self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = PAGE_SIZE
    ) -> Page:
        """Read one page."""


@dataclass(frozen=True)
class PageReading:
    """One reading of one page. ``rows`` includes the quarantined records. ``refused``: BMS sent no list.

    ``added`` and ``removed``: the sums of all rises and falls of ``totalRecords`` since the sweep began. ``fetched``:
    read from BMS and not from a file.
    """

    number: int
    ids: array[int] = field(repr=False)
    rows: int
    added: int = 0
    removed: int = 0
    fetched: bool = True
    refused: bool = False

    def same_as(self, other: PageReading) -> bool:
        """Return whether both readings have the same records in the same order."""
        return self.ids == other.ids and self.rows == other.rows


class PageReader:
    """Reads pages of one list into ``folder``. A page already there is verified and used instead of a new reading.

    ``counts_pages``: ``totalRecords`` counts its own page and not the list.
    """

    def __init__(
        self, client: ReadsPages, list_call: ListCall, folder: Path, filters: Mapping[str, str], connections: int
    ) -> None:
        self.total: int | None = None
        self.counts_pages = False
        self.added = 0
        self.removed = 0
        self.calls = 0
        self.rereads = 0
        self.quarantined: list[QuarantinedRecord] = []
        self.newest: dict[int, PageReading] = {}
        self._client = client
        self._list_call = list_call
        self._folder = folder
        self._filters = filters
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(connections, thread_name_prefix=f"bms-{list_call.name}")
        self._all_ids: list[array[int]] = []
        self._nameless: set[bytes] = set()
        self._sequence = 0
        self._before = (0, 0)
        self._saved = self._take_over()

    def go_on(self, total: int | None, added: int, removed: int, calls: int) -> None:
        """Continue with the counts of the interrupted run."""
        self.total, self.added, self.removed, self.calls = total, added, removed, max(self.calls, calls)
        self._before = (added, removed)

    def stop(self) -> None:
        """Send no more calls, and wait until all answers in flight are saved."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def first(self, number: int) -> Future[PageReading]:
        """Read a page, unless its file is there."""
        return self._pool.submit(self._first, number)

    def again(self, number: int) -> Future[PageReading]:
        """Read a page again. Save it as a further reading if its ids differ from the newest."""
        return self._pool.submit(self._again, number)

    def measured(self, number: int, size: int) -> list[int]:
        """Read a page of another size and return its ids. The page is not saved."""
        page = self._client.page(self._list_call, number, self._filters, size)
        with self._lock:
            self.calls += page.calls
        return page.ids

    def are_known(self, ids: array[int], last: int) -> bool:
        """Return whether the pages up to ``last`` have all of ``ids``."""
        pages_read = [numpy.asarray(self.newest[number].ids) for number in range(1, last + 1) if number in self.newest]
        known = numpy.concatenate([numpy.empty(0, "q"), *pages_read])
        return bool(numpy.isin(numpy.asarray(ids), known).all())

    @property
    def distinct(self) -> int:
        """Number of distinct records in all readings, including quarantined ones."""
        return self._count(self._all_ids)

    @property
    def distinct_now(self) -> int:
        """Number of distinct records in the newest reading of each page, including quarantined ones."""
        return self._count([reading.ids for reading in list(self.newest.values())])

    def _count(self, ids: list[array[int]]) -> int:
        named = array("q", [record.id for record in self.quarantined if record.id is not None])
        everything = numpy.concatenate([numpy.asarray(page_ids) for page_ids in [named, *ids]])
        return int(numpy.unique(everything).size) + len(self._nameless)

    def _first(self, number: int) -> PageReading:
        if number in self._saved:
            ids = page_files.load_ids(self._folder, page_files.page_name(self._saved[number], number))
            if ids is not None:
                rows = len(ids) + len({record.position for record in self.quarantined if record.page == number})
                return self._keep(PageReading(number, ids, rows, *self._before, fetched=False))
        page, reading = self._fetch(number)
        self._save(page)
        return self._keep(reading)

    def _again(self, number: int) -> PageReading:
        page, reading = self._fetch(number)
        before = self.newest.get(number)
        if before is not None and before.same_as(reading):
            return reading
        with self._lock:
            self.rereads += 1
        self._save(page)
        return self._keep(reading)

    def _fetch(self, number: int) -> tuple[Page, PageReading]:
        page = self._client.page(self._list_call, number, self._filters)
        with self._lock:
            self.calls += page.calls
            if page.total is not None:
                if number > 1 and page.total == page.rows and self.distinct > page.total:
                    self.counts_pages = True
                if self.total is not None:
                    self.added += max(0, page.total - self.total)
                    self.removed += max(0, self.total - page.total)
                self.total = page.total
            ids = array("q", page.ids)
            return page, PageReading(number, ids, page.rows, self.added, self.removed, refused=bool(page.refused))

    def _save(self, page: Page) -> None:
        if not page.rows and page.number > 1:  # the end; an empty page needs no file
            return
        with self._lock:
            self._sequence += 1
            name = page_files.page_name(self._sequence, page.number)
            if page.quarantined:  # before the page, so that a crash in between loses no record
                page_files.append_quarantined(self._folder, page)
                for record in page.quarantined:
                    self._remember_quarantined(page.number, record.position, record.why, record.id, record.raw)
        page_files.save_page(self._folder, name, page.records)

    def _keep(self, reading: PageReading) -> PageReading:
        with self._lock:
            self.newest[reading.number] = reading
            self._all_ids.append(reading.ids)
        return reading

    def _take_over(self) -> dict[int, int]:
        """Take over the files of an interrupted run.

        Return the newest reading of each page, to be loaded when needed.
        """
        for unfinished in self._folder.glob(".*.tmp"):
            unfinished.unlink(missing_ok=True)
        for page, position, why, number, raw in page_files.quarantined_lines(self._folder):
            self._remember_quarantined(page, position, why, number, raw)
        found = page_files.readings(self._folder)
        newest = {number: sequence for sequence, number in found}
        for sequence, number in found:
            self._sequence = sequence
            if newest[number] != sequence:
                self.rereads += 1
                ids = page_files.load_ids(self._folder, page_files.page_name(sequence, number))
                self._all_ids += [] if ids is None else [ids]
        return newest

    def _remember_quarantined(self, page: int, position: int, why: str, number: int | None, raw: bytes) -> None:
        found = QuarantinedRecord(page=page, position=position, why=why, id=number)
        if found not in self.quarantined:
            self.quarantined.append(found)
        if number is None:
            self._nameless.add(blake2b(raw, digest_size=16).digest())
