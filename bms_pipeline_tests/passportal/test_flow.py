"""Calls through a few connections: what is due goes out, nothing waits for a phase, and an error ends it in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from bms_pipeline.core.errors import PipelineError, ServiceUnreachable
from bms_pipeline.passportal.documents.flow import ERRORS_AT_MOST, Flow, Later, Step

WAIT = 30.0
"""Seconds after which a test that hangs fails."""


class Time:
    """A clock that goes on while the flow sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def flow(connections: int, time: Time | None = None) -> Flow:
    time = time or Time()
    return Flow(connections, clock=lambda: time.now, sleep=time.sleep)


def noting(done: list[str], name: str, *then: Later) -> Step:
    def step() -> Sequence[Later]:
        done.append(name)
        return then

    return step


def failing(done: list[str], name: str) -> Step:
    def step() -> Sequence[Later]:
        done.append(name)
        raise ServiceUnreachable(name)

    return step


def test_a_slow_call_holds_up_no_other() -> None:
    """With a barrier after each phase the slow one would be waited for, and never be let go."""
    go_on, done = threading.Event(), list[str]()

    def slow() -> Sequence[Later]:
        assert go_on.wait(WAIT)
        done.append("slow")
        return ()

    def last() -> Sequence[Later]:
        go_on.set()
        return noting(done, "last")()

    first: list[Step] = [slow, *(noting(done, str(n), Later(0.0, step=noting(done, f"{n} read"))) for n in range(40))]
    flow(2).run([*first, last])
    assert len(done) == 82
    assert done.index("last") < done.index("slow")


def test_as_many_calls_as_connections_are_in_flight_and_no_more() -> None:
    meeting, lock = threading.Barrier(4), threading.Lock()
    in_flight, most = 0, 0

    def step() -> Sequence[Later]:
        nonlocal in_flight, most
        with lock:
            in_flight += 1
            most = max(most, in_flight)
        meeting.wait(WAIT)
        with lock:
            in_flight -= 1
        return ()

    flow(4).run([step] * 20)
    assert most == 4


def test_what_has_to_wait_waits_behind_new_calls_and_comes_when_it_is_due() -> None:
    time, done = Time(), list[str]()

    def passing(name: str, *then: Later) -> Step:
        def step() -> Sequence[Later]:
            time.now += 1
            return noting(done, name, *then)()

        return step

    steps = [passing(f"write {n}", Later(1003.0 + n, step=passing(f"read {n}"))) for n in range(8)]
    flow(1, time).run(steps)
    assert sorted(done) == sorted([*(f"write {n}" for n in range(8)), *(f"read {n}" for n in range(8))])
    assert done.index("read 0") > done.index("write 1")
    assert done.index("read 0") < done.index("write 7"), "no phase has to end first"
    assert time.pauses == []


def test_where_nothing_else_is_to_be_done_it_sleeps_until_the_next_call_is_due() -> None:
    time, done = Time(), list[str]()
    flow(4, time).run([noting(done, "write", Later(1003.0, step=noting(done, "read")))])
    assert (done, time.pauses) == (["write", "read"], [3.0])


@pytest.mark.parametrize("moved", [-3600.0, 0.0, 3600.0])
def test_a_clock_that_is_set_meanwhile_keeps_nobody_waiting(moved: float) -> None:
    time, done = Time(), list[str]()

    def set_clock(seconds: float) -> None:
        time.pauses.append(seconds)
        time.now += moved

    steps = [noting(done, "write", Later(1003.0, step=noting(done, "read")))]
    Flow(2, clock=lambda: time.now, sleep=set_clock).run(steps)
    assert (done, time.pauses) == (["write", "read"], [3.0])


def test_after_an_error_nothing_new_begins_and_what_was_sent_is_looked_at() -> None:
    done: list[str] = []
    follower: Callable[[int], Later] = lambda n: Later(1003.0, step=noting(done, f"read {n}"))  # noqa: E731
    steps = [noting(done, "write 0", follower(0)), failing(done, "wrong"), noting(done, "write 1", follower(1))]
    with pytest.raises(ServiceUnreachable, match="wrong"):
        flow(1).run(steps)
    assert done == ["write 0", "wrong", "read 0"]


def test_the_first_error_is_raised_and_a_service_that_is_down_is_not_asked_for_ever() -> None:
    done: list[str] = []
    readings = [Later(1000.0 + n, step=failing(done, f"wrong {n}")) for n in range(100)]
    with pytest.raises(PipelineError, match="wrong 0"):
        flow(1).run([noting(done, "write", *readings)])
    assert done == ["write", *(f"wrong {n}" for n in range(ERRORS_AT_MOST))]


def test_a_defect_is_raised_as_it_is() -> None:
    def step() -> Sequence[Later]:
        raise AssertionError("a defect")

    with pytest.raises(AssertionError, match="a defect"):
        flow(2).run([step, *(partial(noting([], "other")) for _ in range(3))])


def test_nothing_to_do_is_done_at_once() -> None:
    time = Time()
    flow(4, time).run([])
    assert time.pauses == []
