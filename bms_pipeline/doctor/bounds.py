"""The bounds of an examination: the most calls to a service, and the most seconds in all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from bms_pipeline.bms.budget import Budget
from bms_pipeline.core.errors import AnswerUnreadable, PipelineError, ServiceUnreachable

SECONDS_A_CALL = 6.0
"""How long one call may take. A page of 500 accounts with their locations takes longer than any other."""
SECONDS_IN_ALL = 20.0
"""From then on no call begins: with the last one the whole stays below half a minute."""
TRIES = 2
"""Calls in all where a failure may pass."""
LONGEST_PAUSE_SECONDS = 0.5


class BoundReached(PipelineError):
    """The seconds or the calls of the examination are used up. Nothing was sent."""


class Bounds:
    """Counts the ``calls`` to the service ``name`` and ends them. Safe to share between threads."""

    def __init__(self, name: str, most_calls: int, seconds: float = SECONDS_IN_ALL) -> None:
        self.name = name
        self.calls = 0
        self._most_calls = most_calls
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._lock = Lock()

    @property
    def left(self) -> int:
        """Calls left."""
        return self._most_calls - self.calls

    def take(self) -> None:
        """Count a call just before it is sent. Raises ``BoundReached``: then do not send it."""
        with self._lock:
            if time.monotonic() > self._end:
                raise BoundReached(
                    f"{self.name} gave too few answers in {self._seconds:g} seconds.",
                    "Is it slow today, or the network? Run again later.",
                )
            if self.calls >= self._most_calls:
                raise BoundReached(
                    f"The {self._most_calls} calls that doctor may make to {self.name} are used up.",
                    "Some were repeated because they failed. Run again later.",
                )
            self.calls += 1


class BoundBudget(Budget):
    """The shared budget of calls to BMS, within the bounds of an examination."""

    bounds: Bounds

    def take(self, endpoint: str) -> None:
        """Count a call in both; raises as both do."""
        self.bounds.take()
        super().take(endpoint)


def may_pass(error: PipelineError) -> bool:
    """Return whether the same call may succeed the next time."""
    return isinstance(error, ServiceUnreachable | AnswerUnreadable)


def pause(seconds: float) -> None:
    """Sleep as a retry asks for, but not long."""
    time.sleep(min(seconds, LONGEST_PAUSE_SECONDS))


def all_at_once(
    pool: ThreadPoolExecutor,
    questions: Mapping[str, Callable[[], None]],
    is_fault: Callable[[str], bool] = lambda _: False,
) -> dict[str, PipelineError]:
    """Put all questions at once, each of which keeps its own answer; return the errors of those without one.

    Nothing follows from one fault: a question whose failure may pass is put once more, as is one whose answer
    ``is_fault``. A service that let a call hang would let it hang again, so then none is.
    """
    began = time.monotonic()
    errors = _once(pool, questions)
    if time.monotonic() - began > SECONDS_A_CALL:
        return errors
    faults = {name for name in questions if (may_pass(errors[name]) if name in errors else is_fault(name))}
    again = _once(pool, {name: questions[name] for name in faults})
    latest = {
        name: errors.get(name, error) if isinstance(error, BoundReached) else error for name, error in again.items()
    }
    return {name: error for name, error in errors.items() if name not in faults} | latest


def _once(pool: ThreadPoolExecutor, questions: Mapping[str, Callable[[], None]]) -> dict[str, PipelineError]:
    asked = {name: pool.submit(question) for name, question in questions.items()}
    errors: dict[str, PipelineError] = {}
    for name, future in asked.items():
        try:
            future.result()
        except PipelineError as error:
            errors[name] = error
    return errors
