"""What is struck: commands, each from a prepared state on, with what a person does after them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bms_pipeline_tests.strikes import tiny
from bms_pipeline_tests.strikes.bench import TARGETS, Bench, Case, Target, last_load
from bms_pipeline_tests.strikes.oracle import Standing, any_name, standing
from bms_pipeline_tests.strikes.striker import BACKFILL


@dataclass(frozen=True)
class Scenario:
    """A command that is struck in a copy of ``state``.

    ``command`` gives its arguments. ``afterwards`` is the rest of the story, which nobody strikes. ``day``: whose BMS
    it is.
    """

    name: str
    target: Target
    state: str
    command: Callable[[Case], list[str]]
    afterwards: Callable[[Case], None] = lambda case: None
    day: str = "today"

    def __str__(self) -> str:
        return f"{self.name}-{self.target}"

    def case(self, bench: Bench) -> Case:
        """A fresh copy to strike."""
        return bench.case(self.state, self.target, bench.today if self.day == "today" else bench.tomorrow)


def _finish_current(case: Case) -> list[str]:
    return ["finish", case.current_hash()]


def _finish_what_waits(case: Case) -> None:
    case.must("finish", case.current_hash())


def _land(case: Case) -> None:
    case.must("sync")


def _import_and_sync(case: Case) -> None:
    case.import_files()
    if case.target == "documents_api":
        case.must("sync")


def _all_scenarios() -> dict[str, Scenario]:
    found = []
    for target in TARGETS:
        found += [
            Scenario("first", target, "fresh", lambda _: ["sync", "--create-unmatched"], _import_and_sync),
            Scenario("second", target, "synced", lambda _: ["sync"], day="tomorrow"),
            Scenario("finish", target, "planned", _finish_current),
            Scenario("backfill", target, "clients loaded", lambda _: [BACKFILL, *map(str, tiny.ALL)]),
            Scenario("undo", target, "synced", lambda case: ["undo", last_load(case)], _finish_what_waits),
            Scenario("undo_finish", target, "undo planned", _finish_current),
            Scenario("details", target, "synced", lambda _: ["details"], _land),
        ]
    found.append(Scenario("import_files", "documents_api", "imported", lambda _: ["sync"]))
    return {str(scenario): scenario for scenario in found}


SCENARIOS = _all_scenarios()


@dataclass(frozen=True)
class Undisturbed:
    """How a scenario goes when nobody strikes: exit code, the end, and how many steps and calls of each name it has.

    ``order``: the names of all steps and calls as they come.
    """

    code: int
    end: Standing
    order: list[str] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)


def undisturbed(bench: Bench, scenario: Scenario) -> Undisturbed:
    """Let nobody strike."""
    case = scenario.case(bench)
    code = case.run(*scenario.command(case), kind="record")
    assert code in {0, 2}, f"{scenario} ends with {code} although nobody struck:\n{case.last_output()}"
    lines = [line.partition("\t") for line in case.reported()]
    calls = [name for function, _, name in lines if function == "call"]
    order = [name if function == "call" else f"{function}@{any_name(name)}" for function, _, name in lines]
    steps = [f"{function}@{any_name(name)}" for function, _, name in lines if function != "call"]
    scenario.afterwards(case)
    return Undisturbed(code, standing(case), order, Counter(steps), Counter(calls))
