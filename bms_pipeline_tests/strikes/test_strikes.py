"""Any command, struck at any moment by anything, and then run again: the end is that of a run that nobody disturbed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from bms_pipeline_tests.strikes.bench import Bench
from bms_pipeline_tests.strikes.conftest import KIND, RESULT, STRIKE
from bms_pipeline_tests.strikes.known import KNOWN, KnownFault, reason_of
from bms_pipeline_tests.strikes.scenarios import SCENARIOS, Undisturbed, undisturbed
from bms_pipeline_tests.strikes.strikes import Kind, NotStruck, Strike, choose, held, kinds_of

QUICK_SCENARIOS = (
    "finish-embedded",
    "finish-documents_api",
    "backfill-embedded",
    "backfill-documents_api",
    "second-embedded",
    "second-documents_api",
    "first-documents_api",
    "undo_finish-embedded",
    "details-embedded",
    "import_files-documents_api",
)
QUICK_EACH, FRESH, SOAK_EACH = 6, 4, 5
"""Strikes of each scenario in the quick suite; how many more are drawn; of each scenario and kind in a soak."""


class Place(NamedTuple):
    """Where to strike: the scenario, the kind, and how far in the run, from 0 to 1; None: drawn."""

    scenario: str
    kind: Kind
    moment: float | None
    number: int = 0


def quick() -> list[Place]:
    """A fixed spread over kinds, moments and scenarios, and a few that differ from run to run."""
    places: list[Place] = []
    for number, name in enumerate(QUICK_SCENARIOS):
        kinds = kinds_of(SCENARIOS[name])
        for turn in range(QUICK_EACH):
            moment = ((number * QUICK_EACH + turn) * 0.618) % 1  # the golden ratio spreads any number of points
            places.append(Place(name, kinds[(number + turn) % len(kinds)], moment))
    return places + [Place(QUICK_SCENARIOS[turn], "random", None) for turn in range(FRESH)]


def soak() -> list[Place]:
    """Each scenario and kind in turn, at moments that are drawn."""
    return [
        Place(name, kind, None)
        for name, scenario in SCENARIOS.items()
        for kind in kinds_of(scenario)
        for _ in range(SOAK_EACH)
    ]


def parameters() -> list[Any]:
    """Of the test: all that is struck."""
    marked = [(place, ()) for place in quick()] + [(place, (pytest.mark.soak,)) for place in soak()]
    return [
        pytest.param(
            place._replace(number=number),
            marks=[*marks, pytest.mark.xdist_group(place.scenario)],
            id=f"{place.scenario}-{place.kind}-{number}",
        )
        for number, (place, marks) in enumerate(marked)
    ]


@pytest.fixture(scope="session")
def seen(bench: Bench) -> Callable[[str], Undisturbed]:
    """How a scenario goes when nobody strikes, by its name."""
    known: dict[str, Undisturbed] = {}

    def look(name: str) -> Undisturbed:
        if name not in known:
            known[name] = undisturbed(bench, SCENARIOS[name])
        return known[name]

    return look


@pytest.mark.parametrize("place", parameters())
def test_a_struck_command_that_is_run_again_ends_as_if_nothing_happened(
    bench: Bench,
    seen: Callable[[str], Undisturbed],
    strike_seed: int,
    record_property: Callable[[str, object], None],
    place: Place,
) -> None:
    draw = random.Random(f"{strike_seed} {place.number}")
    moment, seed = (draw.random(), draw.randrange(10**6)) if place.moment is None else (place.moment, place.number)
    expected = seen(place.scenario)
    judge(bench, choose(SCENARIOS[place.scenario], place.kind, expected, moment, seed), expected, record_property)


def test_the_strike_that_the_option_names_holds(
    bench: Bench,
    seen: Callable[[str], Undisturbed],
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    strike = Strike.parse(request.config.getoption("--strike"))
    print(f"The home that is struck is the last case in {bench.folder}")
    judge(bench, strike, seen(strike.scenario), record_property)


@pytest.mark.parametrize("fault", KNOWN, ids=lambda fault: fault.strike)
def test_a_known_fault_is_still_there_or_else_leaves_the_list(
    bench: Bench, seen: Callable[[str], Undisturbed], fault: KnownFault
) -> None:
    strike = Strike.parse(fault.strike)
    wrong = held(bench, strike, seen(strike.scenario))
    assert any(re.match(fault.line, line) for line in wrong), f"mended? then delete it from known.py: {fault.reason}"


def judge(bench: Bench, strike: Strike, seen: Undisturbed, record_property: Callable[[str, object], None]) -> None:
    """Deal ``strike`` and fail with what is wrong, and with the command that replays it."""
    record_property(KIND, strike.kind)
    record_property(STRIKE, str(strike))
    try:
        wrong = held(bench, strike, seen)
    except NotStruck:
        strike = Strike(strike.scenario, strike.kind, strike.what, 1)  # this run had fewer of them
        wrong = held(bench, strike, seen)
    known = reason_of(wrong)
    record_property(RESULT, "known" if known else "wrong" if wrong else "held")
    replay = f"python -m pytest bms_pipeline_tests/strikes --strike='{strike}'"
    if known:
        pytest.xfail(f"{strike}: {known}")
    if wrong:
        pytest.fail("\n".join([f"{strike} did not hold; replay: {replay}", *wrong]), pytrace=False)
