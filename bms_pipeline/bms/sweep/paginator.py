"""The order in which a sweep reads a list, and the resulting proof. ``sweep`` explains why the proof holds."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path

import msgspec
import numpy

from bms_pipeline.bms.client import PAGE_SIZE
from bms_pipeline.bms.sweep import page_files
from bms_pipeline.bms.sweep.ending import Answered, End, Ending, Known, Total
from bms_pipeline.bms.sweep.manifest import Manifest, Mode, Objection, moment_text
from bms_pipeline.bms.sweep.page_reader import OnProgress, PageReader, PageReading

STRETCH = 25
"""Pages a window. One extra call in 25 is the price of the proof: 4 %."""
FIRST_STRETCHES = ((1, 4), (15, 10))
CLIENT_STRETCHES = ((1, 1), *FIRST_STRETCHES)
"""For the records of one client: most have a page at most, and a page too far costs a call."""
"""(up to page, pages): windows of a list of unknown length start small and grow, so that a short list costs little."""
REPAIR_STRETCHES = (12, 6, 3)
"""Pages a window in each round of repair. Shorter windows are likelier to fit between two changes."""

BARREN_PAGES = 8
"""Pages with only known records, in unstable windows, until the list counts as endless."""


class _Stretch(msgspec.Struct):
    """A finished window: its pages, whether it is stable, and the ids on its first and last page."""

    first: int
    last: int
    clean: bool
    head: list[int]
    tail: list[int]

    def meets(self, following: _Stretch) -> bool:
        """Return whether no record can lie between this window and ``following``.

        Past the end of the list there is none.
        """
        return not self.tail or not set(self.tail).isdisjoint(following.head)


class _Progress(msgspec.Struct):
    """A line of ``progress.ndjson``: a finished window, the counts then, and its time."""

    stretch: _Stretch
    total: int | None
    added: int
    removed: int
    calls: int
    at: str = ""


@dataclass
class _Open:
    """A window in progress: its last page, those between, and its first page."""

    tail: PageReading
    between: list[Future[PageReading]]
    head: Future[PageReading]

    def all_read(self) -> PageReading:
        """Wait until all of it is read and return its first page. Raises the error of a failed reading."""
        for page in self.between:
            page.result()
        return self.head.result()

    def closed(self, closing: PageReading) -> _Stretch:
        """Judge the window; ``closing`` is the second reading of its last page."""
        return _judged(self.tail, [self.head.result(), *(page.result() for page in self.between), closing])


def _judged(tail: PageReading, readings: list[PageReading]) -> _Stretch:
    """Judge a window by the first reading of its last page and all later readings, which end with the second."""
    head, closing = readings[0], readings[-1]
    ids = [record_id for reading in readings for record_id in reading.ids]
    added = {tail.added, *(reading.added for reading in readings)}
    removed = {tail.removed, *(reading.removed for reading in readings)}
    # If the last page did not move, nothing was added or removed before it, or as much of both. The total shows which.
    still = tail.same_as(closing) and (len(added) == 1 or len(removed) == 1)
    return _Stretch(head.number, tail.number, still and len(ids) == len(set(ids)), list(head.ids), list(closing.ids))


class Paginator:
    """The pagination strategy of a sweep, and the resulting proof."""

    def __init__(self, reader: PageReader, home: Path, on_progress: OnProgress | None, *, mode: Mode = "full") -> None:
        self._reader = reader
        self._home = home
        self._on_progress = on_progress
        self._stretches: list[_Stretch] = []
        self._size = PAGE_SIZE
        self._empty: int | None = None
        self._was_empty: int | None = None
        self._repairs = 0
        self._end = End.UNPROVED
        self._barren = 0
        self._is_stuck = False
        self._proves_absence = mode != "incremental"
        self._first_stretches = CLIENT_STRETCHES if mode == "client" else FIRST_STRETCHES

    def run(self) -> None:
        """Read the list to its end, then read the unstable windows again."""
        self._read_to_the_end(self._start())
        for pages_each in REPAIR_STRETCHES:
            suspects = self._suspects()
            if not suspects:
                break
            for first, last in suspects:
                self._repair(first, last, pages_each)
            self._empty, self._was_empty = None, self._empty  # the end may have moved
            self._read_to_the_end(self._stretches[-1].last)

    def objection(self) -> Objection | None:
        """Return why the list is not proved complete; ``None`` if it is."""
        if self._end is End.REPEATS:
            return Objection.REPEATS
        if self._unsettled():
            return Objection.DRIFT
        if not self._adds_up():
            return Objection.TOTAL
        if any(record.id is None for record in self._reader.quarantined):
            return Objection.QUARANTINE
        if self._reader.total is None and not self._is_regular():
            middle = [self._reader.newest[number].rows for number in range(1, self._last)]
            return Objection.GAP if 0 in middle else Objection.SHORT
        return None if self._end is End.PROVED else Objection.UNPROVED

    def describe(self, manifest: Manifest) -> None:
        """Put the counts into the manifest."""
        reader = self._reader
        newest = [reader.newest[number] for number in sorted(reader.newest) if reader.newest[number].rows]
        manifest.pages = len(newest)
        manifest.records = reader.distinct
        manifest.total, manifest.total_changes = reader.total, reader.added + reader.removed
        manifest.ordered = _rising(reading.ids for reading in newest)
        manifest.rereads, manifest.repairs = reader.rereads, self._repairs
        manifest.calls_made = reader.calls
        manifest.calls_necessary = max(1, len(newest)) + (1 if reader.total is None and newest else 0)
        manifest.quarantined = list(reader.quarantined)

    def _start(self) -> int:
        """Read page 1, or take over the windows of an interrupted run. Return the last page of the latest window."""
        reader = self._reader
        self._take_over()
        last = self._stretches[-1].last if self._stretches else 1
        for number, reading in [(page, reader.first(page)) for page in range(1, last + 1)]:
            if reading.result().fetched:  # its file was damaged, so it is from another moment than its neighbours
                for stretch in self._stretches:
                    stretch.clean = stretch.clean and not stretch.first <= number <= stretch.last
        first = reader.newest[1]
        if not first.fetched:
            first = reader.again(1).result()  # a file does not contain the total
        # A service clamps the page size if it sends fewer records than requested and its total is higher. Or a record
        # has shifted: then looking for the end one page too far costs one call.
        if first.rows > PAGE_SIZE or (reader.total is not None and 0 < first.rows < min(PAGE_SIZE, reader.total)):
            self._size = first.rows
        return last

    def _take_over(self) -> None:
        """Take over the finished windows of an interrupted run, as long as each follows on the one before."""
        for line in page_files.lines(self._home, page_files.PROGRESS):
            with suppress(ValueError):
                kept = msgspec.convert(line, _Progress)
                if kept.stretch.first == (self._stretches[-1].last if self._stretches else 1):
                    self._stretches.append(kept.stretch)
                    self._reader.go_on(kept.total, kept.added, kept.removed, kept.calls)

    def _read_to_the_end(self, start: int) -> None:
        """Read on from page ``start``, already read, until nothing shows that the list goes on; see ``ending``."""
        reader = self._reader
        self._read_on(start)
        while not self._is_stuck:
            known = self._known()
            ending = Ending(known, self._seen_beyond(known))
            found: PageReading | None = None
            while (question := ending.question) is not None:
                if question.size is not None:
                    ending.take(self._measured(known, question.number, question.size, question.expects))
                    continue
                ask = reader.again if question.number in reader.newest else reader.first
                found = ask(question.number).result()
                ending.take(self._answered(found, known.last))
            if ending.goes_on_at is None or found is None:
                self._end = ending.end or End.UNPROVED
                return
            self._empty = self._was_empty = None
            if found.number == 1:
                self._stretches.clear()
                self._read_on(1)
            elif found.number <= self._stretches[-1].last:  # an empty page at its end filled up again
                self._stretches[-1].clean = False
            else:
                self._read_on(self._stretches[-1].last, found)
        self._end = End.REPEATS

    def _seen_beyond(self, known: Known) -> Answered | None:
        """Return the kind of the page after the last one, if it was read and counts as a first answer."""
        if known.last == 0 and known.total is Total.OWN:
            return None  # a total of 0 with an empty page 1 is a single answer, which needs a second one
        beyond = self._reader.newest.get(known.last + 1)
        # A page with rows may be from before the list became shorter.
        return None if beyond is None or beyond.rows else self._answered(beyond, known.last)

    def _known(self) -> Known:
        """Return the evidence for the end of the list in the pages read so far."""
        newest, last = self._reader.newest, self._last
        last_rows = newest[last].rows if last else 0
        size = max((newest[number].rows for number in range(1, last + 1)), default=0)
        return Known(last, last_rows, size, self._is_regular(), self._total(last), PAGE_SIZE)

    def _total(self, last: int) -> Total:
        if self._reader.total is None:
            return Total.ABSENT
        if not self._adds_up():
            return Total.CONTRADICTS
        # The changes since the watermark prove no absence, so a second answer is not worth its call.
        return Total.OWN if last <= 1 and self._proves_absence else Total.ADDS_UP

    @property
    def _last(self) -> int:
        """Number of the last page with records; 0 for none."""
        newest = self._reader.newest
        read = range(self._stretches[-1].last, 0, -1)
        return next((number for number in read if number in newest and newest[number].rows), 0)

    def _is_regular(self) -> bool:
        """Return whether all pages before the last have the same number of records, and the last has no more."""
        newest = self._reader.newest
        rows = [newest[number].rows if number in newest else 0 for number in range(1, self._last + 1)]
        return len(set(rows[:-1])) <= 1 and (len(rows) < 2 or rows[-1] <= rows[0])

    def _answered(self, reading: PageReading, last: int) -> Answered:
        """Return the kind of a page past ``last``."""
        if reading.refused:
            return Answered.REFUSED
        if not reading.rows:
            return Answered.EMPTY
        is_known = reading.rows == len(reading.ids) and self._reader.are_known(reading.ids, last)
        return Answered.KNOWN if is_known else Answered.NEW

    def _measured(self, known: Known, number: int, size: int, expects: int) -> Answered:
        """Return ``KNOWN`` if a page of another size has the last known records, and no other."""
        expected = self._reader.newest[known.last].ids[-expects:]
        return Answered.KNOWN if set(self._reader.measured(number, size)) == set(expected) else Answered.NEW

    def _read_on(self, start: int, found: PageReading | None = None) -> None:
        """Read on from page ``start``, already read, while pages bring new records; ``found``: a page with new records.

        While a window is read, the last page of the next one is already in flight. At most two windows are open.
        """
        reader = self._reader
        opened: list[_Open] = []
        ahead = _done(found) if found else self._ask_next(start)
        while ahead is not None and not self._is_stuck:
            tail = ahead.result()
            if self._brings_nothing(tail, start):
                self._empty = tail.number
                ahead = self._ask_next(start)
                continue
            if reader.newest[start].rows < self._size:  # a short page that was not the last
                self._size = max(reading.rows for reading in list(reader.newest.values()))
            ahead = self._ask_next(tail.number)
            between = [reader.first(number) for number in range(start + 1, tail.number)]
            opened.append(_Open(tail, between, self._head_of(start, opened)))
            start = tail.number
            self._report()
        self._close_last(opened)
        if not self._stretches:
            only = reader.newest[1]
            self._stretches.append(_Stretch(1, 1, len(set(only.ids)) == len(only.ids), list(only.ids), list(only.ids)))
        self._report()

    def _brings_nothing(self, tail: PageReading, start: int) -> bool:
        """Return whether a page is empty, or repeats the first page or the page read before it."""
        before = [self._reader.newest[number].ids for number in {1, start} - {tail.number}]
        return not tail.rows or any(set(tail.ids) == set(ids) for ids in before)

    def _head_of(self, start: int, opened: list[_Open]) -> Future[PageReading]:
        """Request the first page of a new window. Its reading closes the window before, whose own pages come first."""
        if opened:
            closing = opened[-1].all_read()
            if len(opened) == 2:
                self._finished(opened.pop(0), closing)
        elif not self._stretches and self._reader.total is not None:
            return _done(self._reader.newest[1])  # the total, which is compared anyway, saves a call
        return self._reader.again(start)

    def _close_last(self, opened: list[_Open]) -> None:
        """Close the windows still open at the end of the list."""
        if not opened:
            return
        last = opened[-1]
        closing = last.all_read()
        for window in opened[:-1]:
            self._finished(window, closing)
        # Without pages between, the readings of the head show all that a second one of the tail could.
        closing = self._reader.again(last.tail.number).result() if last.between else last.tail
        self._finished(last, closing)

    def _finished(self, opened: _Open, closing: PageReading) -> None:
        reader = self._reader
        stretch = opened.closed(closing)
        self._stretches.append(stretch)
        if not stretch.clean:  # records moved, or the service repeats the same ones for ever
            pages_after = [reader.newest[number] for number in range(stretch.first + 1, stretch.last + 1)]
            brings_none = all(reader.are_known(reading.ids, stretch.first) for reading in pages_after)
            self._barren = self._barren + len(pages_after) if brings_none else 0
            self._is_stuck = self._barren >= BARREN_PAGES
        progress = _Progress(stretch, reader.total, reader.added, reader.removed, reader.calls, moment_text())
        page_files.append_page(self._home, page_files.PROGRESS, progress)

    def _ask_next(self, page: int) -> Future[PageReading] | None:
        """Request the last page of the window from ``page`` on; ``None`` if the list ends with ``page``."""
        following = self._next(page)
        return None if following is None else self._reader.first(following)

    def _next(self, page: int) -> int | None:
        """Choose the last page of the window from ``page`` on. This is a guess while the end is unknown."""
        if self._empty is not None and page + 1 >= self._empty:
            return None
        total, rows = self._reader.total, self._reader.newest[page].rows
        full = rows >= self._size
        if total is None and not rows:
            return None
        if total is None:
            step = next((step for limit, step in self._first_stretches if page <= limit), STRETCH)
            following = page + (step if full and page + 1 != self._was_empty else 1)
        elif (end := ceil(total / self._size)) > page:
            following = min(page + STRETCH, end)
        elif full:
            following = page + 1  # a total may not count the whole list, and a full page may not be the last
        else:
            return None
        if self._empty is not None and following >= self._empty:
            following = (page + self._empty) // 2
        return following

    def _suspects(self) -> list[tuple[int, int]]:
        """Return first and last page of the parts of the list to read again."""
        if self._end is End.REPEATS:
            return []
        bad = self._unsettled() or (set() if self._adds_up() else self._where_it_may_not_add_up())
        if not bad and self._reader.total is None and not self._is_regular() and not self._repairs:
            bad = self._where_it_may_not_add_up()
        suspects: list[tuple[int, int]] = []
        for index in sorted(bad):
            stretch = self._stretches[index]
            if suspects and suspects[-1][1] == stretch.first:
                suspects[-1] = (suspects[-1][0], stretch.last)
            else:
                suspects.append((stretch.first, stretch.last))
        return suspects

    def _unsettled(self) -> set[int]:
        """Return the indexes of unstable windows and of windows without overlap with a neighbour."""
        moved = {index for index, stretch in enumerate(self._stretches) if not stretch.clean}
        apart = {
            index
            for index, (stretch, following) in enumerate(pairwise(self._stretches))
            if not stretch.meets(following)
        }
        return moved | apart | {index + 1 for index in apart}

    def _adds_up(self) -> bool:
        reader = self._reader
        if reader.counts_pages:
            return False
        return reader.total is None or abs(reader.distinct_now - reader.total) <= reader.added + reader.removed

    def _where_it_may_not_add_up(self) -> set[int]:
        """Return the windows with a short page or a repeated id; without one, all windows of a short list."""
        seen: set[int] = set()
        odd: set[int] = set()
        last = self._stretches[-1].last
        for number, reading in sorted(self._reader.newest.items()):
            if not seen.isdisjoint(reading.ids) or (reading.rows < self._size and number < last):
                odd |= {number - 1, number, number + 1}
            seen.update(reading.ids)
        bad = {
            index
            for index, stretch in enumerate(self._stretches)
            if any(stretch.first <= page <= stretch.last for page in odd)
        }
        return bad or (set(range(len(self._stretches))) if last <= 2 * STRETCH else set())

    def _repair(self, first: int, last: int, pages_each: int) -> None:
        """Read a part of the list again, in windows of ``pages_each``."""
        cuts = [*range(first, last, pages_each), last]
        anew = [self._read_again(*pair) for pair in pairwise(cuts)] if first < last else [self._read_again(first, last)]
        kept = [stretch for stretch in self._stretches if stretch.last <= first and stretch.first < first]
        rest = [stretch for stretch in self._stretches if stretch.first >= last and stretch.last > last]
        self._stretches = [*kept, *anew, *rest]
        self._repairs += 1

    def _read_again(self, first: int, last: int) -> _Stretch:
        """Read one window again, all of it between two readings of its last page."""
        reader = self._reader
        tail = reader.again(last).result()
        if first == last:
            return _judged(tail, [tail])
        others = [page.result() for page in [reader.again(number) for number in range(first, last)]]
        return _judged(tail, [*others, reader.again(last).result()])

    def _report(self) -> None:
        if self._on_progress is not None:
            done = sum(reading.rows for reading in list(self._reader.newest.values()))
            self._on_progress(done, self._reader.total)


def _done(reading: PageReading) -> Future[PageReading]:
    """Return a finished future with this reading."""
    future: Future[PageReading] = Future()
    future.set_result(reading)
    return future


def _rising(ids: Iterable[array[int]]) -> bool:
    """Return whether ids rise through all pages."""
    last = None
    for page in ids:
        numbers = numpy.asarray(page)
        if (last is not None and numbers.size and numbers[0] <= last) or not (numpy.diff(numbers) > 0).all():
            return False
        last = numbers[-1] if numbers.size else last
    return True
