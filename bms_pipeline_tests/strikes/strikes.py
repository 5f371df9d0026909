"""Strikes: chosen from what an undisturbed run does, dealt one after another to one home, and judged at its end."""

from __future__ import annotations

import random
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from bms_pipeline_tests.strikes.bench import Bench, Case, last_load
from bms_pipeline_tests.strikes.oracle import standing
from bms_pipeline_tests.strikes.scenarios import SCENARIOS, Scenario, Undisturbed
from bms_pipeline_tests.strikes.striker import Call, Step

Kind = Call | Step | Literal["random"]
CALLS: tuple[Call, ...] = get_args(Call)
STEPS: tuple[Step, ...] = get_args(Step)
KINDS: tuple[Kind, ...] = (*CALLS, *STEPS, "random")
KILLS = {"call-before", "call-sent", "call-answered", "step-before", "step-after", "torn"}

_FUNCTIONS: Mapping[Kind, tuple[str, ...]] = {
    "torn": ("write",),
    "enospc": ("write", "open", "mkdir", "truncate"),
    "eio": ("write", "fsync", "truncate"),
}


@dataclass(frozen=True)
class Strike:
    """Strike ``scenario`` by ``kind`` at the ``nth`` step or call named ``what``; ``nth`` is the seed of ``random``."""

    scenario: str
    kind: Kind
    what: str
    nth: int

    def __str__(self) -> str:
        return f"{self.scenario}/{self.kind}/{self.what}#{self.nth}"

    @classmethod
    def parse(cls, text: str) -> Strike:
        """The strike that ``str`` wrote."""
        scenario, kind, rest = text.split("/", 2)
        what, _, nth = rest.rpartition("#")
        if scenario not in SCENARIOS or kind not in KINDS:
            raise ValueError(f"No strike: {text}")
        return cls(scenario, kind, what, int(nth))


THEN = " then "
"""Between the strikes of one story, as a failed test prints them."""


def parse_story(text: str) -> list[Strike]:
    """The strikes that are dealt to one home in a row, as ``as_text`` wrote them."""
    return [Strike.parse(part) for part in text.split(THEN)]


def as_text(strikes: Sequence[Strike]) -> str:
    """One line for the strikes of a story."""
    return THEN.join(map(str, strikes))


class NotStruck(Exception):
    """The run ended before the step that was to be struck."""


def kinds_of(scenario: Scenario) -> list[Kind]:
    """The kinds that can strike it: its embedded load makes no call."""
    silent = scenario.target == "embedded" and scenario.name in {"finish", "backfill", "undo", "undo_finish"}
    silent = silent or scenario.name == "undo"
    return [kind for kind in KINDS if not (silent and kind in CALLS)]


def choose(scenario: Scenario, kind: Kind, seen: Undisturbed, place: float, seed: int) -> Strike:
    """The strike at ``place`` (0 to 1) of all that ``kind`` could strike in what an undisturbed run was ``seen`` to do.

    A name that occurs a hundred times counts ten times as much as one that occurs once.
    """
    if kind == "random":
        return Strike(str(scenario), kind, "", seed)
    found = seen.calls if kind in CALLS else seen.steps
    functions = _FUNCTIONS.get(kind)
    names = sorted(name for name in found if functions is None or name.partition("@")[0] in functions)
    weights = [found[name] ** 0.5 for name in names]
    at = place * sum(weights)
    for name, weight in zip(names, weights, strict=True):
        if at < weight:
            return Strike(str(scenario), kind, name, 1 + int(at / weight * found[name]))
        at -= weight
    return Strike(str(scenario), kind, names[-1], found[names[-1]])


def in_a_row(strikes: Sequence[Strike], seen: Undisturbed) -> list[Strike]:
    """The same strikes as they are dealt to one home: in the order of the run, a write fault last.

    A run goes on where the one before was struck, so each is counted from there.
    """

    def place(strike: Strike) -> int:
        return [number for number, name in enumerate(seen.order) if name == strike.what][strike.nth - 1]

    found: list[Strike] = []
    since = 0
    for strike in sorted(strikes, key=lambda strike: (strike.kind not in KILLS, place(strike))):
        found.append(replace(strike, nth=1 + seen.order[since : place(strike)].count(strike.what)))
        since = max(since, place(strike))
    return found


def held(bench: Bench, strikes: Sequence[Strike], seen: Undisturbed) -> list[str]:
    """Deal ``strikes`` to the same command, each to the run after the one before, and run it once more undisturbed.

    A line for each thing that is wrong then, none where it held. Where a write fault damaged the database, the message
    has to say so, and ``restore`` comes before the command; so a write fault comes last. Raises ``NotStruck``.
    """
    case = SCENARIOS[strikes[0].scenario].case(bench)
    try:
        return _held(case, strikes, seen)
    finally:
        bench.put_away(case)


def _held(case: Case, strikes: Sequence[Strike], seen: Undisturbed) -> list[str]:
    scenario = SCENARIOS[strikes[0].scenario]
    command = scenario.command(case)
    wrong = [f"{strike}: {line}" for strike in strikes for line in _deal(case, command, strike)]
    case.let_writes_arrive()
    code = case.run(*command)
    restored = code != seen.code and case.is_damaged()
    if restored:
        if "damaged" not in case.last_output():
            wrong.append(f"the database is damaged and the message does not say so: {case.last_output()[-600:]}")
        if case.run("restore", "--yes") != 0:
            return [*wrong, f"restore failed: {case.last_output()[-600:]}"]
        code = _again_after_restore(case, scenario, command)
    if code != seen.code:
        return [*wrong, f"exit code {code} instead of {seen.code}: {case.last_output()[-600:]}"]
    scenario.afterwards(case)
    return [*wrong, *standing(case).differences(seen.end, restored=restored)]


def _again_after_restore(case: Case, scenario: Scenario, command: Sequence[str]) -> int:
    """The same command; where it needs a plan, which `restore` says is not back, a person plans and approves again.

    `restore` names plans of an undo among what has to be given again.
    """
    code = case.run(*command)
    if code == 0 or command[0] == "sync":
        return code
    if scenario.state == "undo planned":
        assert "plans of an undo. Give them again" in case.output
        undo = ["undo", last_load(case)]
        case.run(*undo)
        if case.run("finish", case.current_hash()) == 0:
            return 0
        # Passportal was half undone, which the copy did not know and the finish has read.
        assert f"`bms-pipeline {' '.join(undo)}`" in case.last_output()
        case.run(*undo)
    else:
        case.run("preview")
    return case.run("finish", case.current_hash())


def _deal(case: Case, command: Sequence[str], strike: Strike) -> list[str]:
    """Strike the command; what is wrong at once."""
    if strike.kind == "random":
        return _deal_at_random(case, command, strike.nth)
    code = case.run(*command, kind=strike.kind, what=strike.what, nth=strike.nth)
    if not case.reported():
        raise NotStruck(f"exit code {code}")
    if strike.kind in KILLS:
        return [] if code == -signal.SIGKILL else [f"killed, and ended with {code}"]
    if code == -signal.SIGABRT:
        return []  # DuckDB ends the process where its log can neither be synced nor shortened: that is a kill
    if code < 0:
        return [f"a write fault ended the process by signal {-code}"]
    if "Traceback (most recent call last)" in case.last_output():
        return [f"a write fault shows a traceback: {case.last_output()[-900:]}"]
    return []


def _deal_at_random(case: Case, command: Sequence[str], seed: int) -> list[str]:
    """Up to three kills in a row, each at a step drawn by ``seed``, the same command each time."""
    draw = random.Random(seed)
    struck = 0
    for most in (600, 400, 200)[: 1 + draw.randrange(3)]:
        torn = draw.random() < 0.3
        what = "write@*" if torn else "any@*"
        case.run(*command, kind="torn" if torn else "step-after", what=what, nth=1 + draw.randrange(most))
        struck += bool(case.reported())
    if not struck:
        case.run(*command, kind="step-after", what="any@*", nth=1 + draw.randrange(10))
        if not case.reported():
            raise NotStruck
    return []
