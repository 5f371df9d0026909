"""Calls flowing through a few connections: each goes out as soon as it is due and a connection is free.

A step makes its calls and returns the steps that follow it, each with the moment from which it is due::

    new steps ──▶ ┌─────────────┐  calls   ┌─────────────┐
                  │ due first,  │ ───────▶ │ connections │ ──▶ nothing follows: done
    steps that ─▶ │ then new    │          └─────────────┘
    follow        └─────────────┘                 │
        ▲                                         │
        └─────── a while later, or at once ───────┘

So no step waits for a whole phase of others, and a step due later waits behind the next writes.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from bms_pipeline.core.errors import PipelineError

AHEAD = 2
"""Steps handed over for each connection: while results are looked at here, no connection runs dry."""
ERRORS_AT_MOST = 3
"""One error may concern one document. This many, each after several tries, concern the service."""


@dataclass(order=True)
class Later:
    """A step that is due from ``at`` on, in seconds of the flow's clock."""

    at: float
    number: int = field(default_factory=itertools.count().__next__)
    step: Step = field(compare=False, kw_only=True)


Step: TypeAlias = Callable[[], Sequence[Later]]


class Flow:
    """Runs steps in ``connections`` threads. ``clock`` and ``sleep`` are for tests."""

    def __init__(self, connections: int, *, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._connections = connections
        self._clock = clock
        self._sleep = sleep

    def run(self, steps: Iterable[Step]) -> None:
        """Run ``steps`` and all following steps.

        After an error no new step begins. The followers of earlier steps still run: they check what was sent. After
        some more errors they end, too. Then the first error is raised.
        """
        errors: list[PipelineError] = []
        new = (partial(_begun, step, errors) for step in steps)
        later: list[Later] = []
        running: set[Future[Sequence[Later]]] = set()
        pool = ThreadPoolExecutor(self._connections)
        try:
            while True:
                while len(running) < AHEAD * self._connections and (step := self._next(later, new)):
                    running.add(pool.submit(step))
                if not running and not later:
                    break
                for future in self._finished(running, later):
                    running.discard(future)
                    for follower in future.result():
                        follower.step = partial(_followed, follower.step, errors)
                        heapq.heappush(later, follower)
        finally:
            pool.shutdown(cancel_futures=True)
        if errors:
            raise errors[0]

    def _next(self, later: list[Later], new: Iterator[Step]) -> Step | None:
        """Return the next step; None where none is due now."""
        if later and later[0].at <= self._clock():
            return heapq.heappop(later).step
        return next(new, None)

    def _finished(self, running: set[Future[Sequence[Later]]], later: list[Later]) -> Iterable[Future[Sequence[Later]]]:
        """Return the ended steps, after waiting for the first or for the moment at which another one is due."""
        until = max(later[0].at - self._clock(), 0.0) if later else None
        if running:
            is_full = len(running) >= AHEAD * self._connections
            return wait(running, None if is_full else until, FIRST_COMPLETED).done
        self._sleep(until or 0.0)
        later[0].at = self._clock()  # a clock set back in between keeps nobody waiting
        return ()


def _begun(step: Step, errors: list[PipelineError]) -> Sequence[Later]:
    """Run a new step, unless another one has failed."""
    return () if errors else _followed(step, errors)


def _followed(step: Step, errors: list[PipelineError]) -> Sequence[Later]:
    """Run a step and note its error."""
    if len(errors) >= ERRORS_AT_MOST:
        return ()
    try:
        return step()
    except PipelineError as error:
        errors.append(error)
        return ()
