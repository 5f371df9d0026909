"""The end of a list: the questions to ask past its last page, and what the answers prove.

``Ending`` is a state machine without network access. Ask its ``question``, and ``take`` the answer::

    BEGUN ── the total adds up over several pages ──────────────────────────────▶ proved
      │
      ▼
    MEASURING: a page of another size, which the last known
      │ records should begin and end ── only these came ────────────────────────▶ proved
      │   └─ but where a total may count its own page, the next page must be empty, too
      │ it does not fit, or cannot be asked
      ▼
    CONFIRMING: the page after the last one, ── new records ──┐
      │ until it brought none twice                           ├──▶ the list goes on there:
      │   └─ after a short last page ─────────────────────────┼──────────────────▶ proved
      ▼                                                       │    read on and come back
    LOOKING_PAST: the three pages after that ── new records ──┘
      │ none
      ▼
    unproved, or repeats where only known records came

A last page is *short* if all others before it are full and of one size: only then does its size show the end of the
list. Otherwise "no more records" is a mere claim of the service. A service that answers past the end with an error or
an old page does not even claim it. Such a list was read as far as possible, and proves no absence.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

LOOK_PAST = 3
"""Pages to look past an empty one."""
READINGS = 2
"""Readings of a page without new records, until it counts as the end."""


class Answered(Enum):
    """The kind of answer to a page past the last one."""

    NEW = auto()
    EMPTY = auto()
    KNOWN = auto()
    REFUSED = auto()


class Total(Enum):
    """The relation of ``totalRecords`` to the records read so far.

    ``OWN``: it adds up, but it may count only the page it came with.
    """

    ABSENT = auto()
    ADDS_UP = auto()
    OWN = auto()
    CONTRADICTS = auto()


class End(Enum):
    """The proof about the end of a list."""

    PROVED = auto()
    UNPROVED = auto()
    REPEATS = auto()


class State(Enum):
    """The state of the questions; see the drawing."""

    MEASURING = auto()
    CONFIRMING = auto()
    LOOKING_PAST = auto()
    ENDED = auto()


@dataclass(frozen=True)
class Known:
    """The pages read so far.

    Number of the ``last`` page (0 for none), its ``rows``, the ``size`` of the pages before it.

    ``is_regular``: all pages before the last have ``size`` rows and the last has no more. ``asked``: the requested
    number of records a page.
    """

    last: int
    rows: int
    size: int
    is_regular: bool
    total: Total
    asked: int

    @property
    def is_short(self) -> bool:
        """Whether the size of the last page shows the end of the list."""
        return self.is_regular and self.last > 1 and self.rows < self.size

    @property
    def is_small(self) -> bool:
        """Whether the only page has fewer records than requested: it is short, unless the service clamps the size."""
        return self.last == 1 and self.rows < self.asked

    @property
    def records(self) -> int:
        """Number of records in a regular list."""
        return self.size * max(0, self.last - 1) + self.rows


@dataclass(frozen=True)
class Question:
    """A request for page ``number``, with ``size`` records if that differs from the usual size.

    Such a page must bring the last ``expects`` known records and no other.
    """

    number: int
    size: int | None = None
    expects: int = 0


class Ending:
    """The questions about the end of one list. ``seen``: the kind of the page after the last one, if it was read.

    ``end`` is the proof. It stays ``None`` if the list goes on, at page ``goes_on_at``.
    """

    def __init__(self, known: Known, seen: Answered | None = None) -> None:
        self.end: End | None = None
        self.goes_on_at: int | None = None
        self._known = known
        self._page = known.last + 1
        self._answers = [] if seen is None else [seen]
        self._is_measured = False
        self._measure = _measure(known) if self._claims_end or known.total is Total.OWN else None
        self._state = State.MEASURING if self._measure else State.CONFIRMING
        if known.total is Total.ADDS_UP:
            self._finish(End.PROVED)

    @property
    def question(self) -> Question | None:
        """The next question; ``None`` when no question can prove more."""
        if self._state is State.ENDED:
            return None
        return self._measure if self._state is State.MEASURING else Question(self._page)

    def take(self, answered: Answered) -> None:
        """Take the answer to the question. For a measure, ``KNOWN`` means: only the expected records came."""
        known = self._known
        if self._state is State.MEASURING:
            self._state, self._is_measured = State.CONFIRMING, answered is Answered.KNOWN
            if self._is_measured and known.total is not Total.OWN:
                self._finish(End.PROVED)
            return
        if answered is Answered.NEW:
            self.goes_on_at, self._state = self._page, State.ENDED
            return
        self._answers.append(answered)
        if self._is_measured:
            self._finish(End.PROVED)
        elif known.total is Total.OWN and known.rows > known.asked:
            self._finish(End.PROVED)  # a service that sends more than requested does not page: the list is complete
        elif self._state is State.CONFIRMING and len(self._answers) < READINGS:
            return
        elif self._state is State.CONFIRMING and known.is_short and known.total is Total.ABSENT and self._claims_end:
            self._finish(End.PROVED)
        elif self._page <= known.last + LOOK_PAST:
            self._state = State.LOOKING_PAST
            self._page += 1
        else:
            self._finish(self._without_proof())

    @property
    def _claims_end(self) -> bool:
        """Whether all answers so far were empty pages."""
        return all(answered is Answered.EMPTY for answered in self._answers)

    def _without_proof(self) -> End:
        known = self._known
        if set(self._answers) == {Answered.KNOWN}:
            return End.REPEATS
        says_so_alone = known.last == 0 or known.is_small  # no other evidence is possible
        is_nothing_against = self._claims_end and known.total in {Total.ABSENT, Total.OWN}
        return End.PROVED if says_so_alone and is_nothing_against else End.UNPROVED

    def _finish(self, end: End) -> None:
        self.end, self._state = end, State.ENDED


def _measure(known: Known) -> Question | None:
    """Return the question for a page that begins inside the last known one and would reach beyond it."""
    is_full = known.is_regular and known.last > 0 and known.rows == known.size
    if known.total not in {Total.ABSENT, Total.OWN} or not (is_full or known.is_small):
        return None
    size = next((size for size in range(known.rows - 1, 1, -1) if known.records % size), None)
    return None if size is None else Question(known.records // size + 1, size, known.records % size)
