"""Any command, struck at any moment by anything, and then run again: the end is that of a run that nobody disturbed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from bms_pipeline_tests.strikes.bench import Bench
from bms_pipeline_tests.strikes.conftest import KIND, RESULT, STRIKE
from bms_pipeline_tests.strikes.scenarios import SCENARIOS, Undisturbed
from bms_pipeline_tests.strikes.strikes import (
    Kind,
    NotStruck,
    Strike,
    as_text,
    choose,
    held,
    in_a_row,
    kinds_of,
    parse_story,
)

QUICK_SCENARIOS = (
    "finish-embedded",
    "finish-documents_api",
    "backfill-documents_api",
    "second-embedded",
    "first-documents_api",
    "undo_finish-embedded",
    "details-embedded",
    "import_files-documents_api",
)
QUICK_KINDS: tuple[tuple[Kind, ...], ...] = (
    ("call-before", "step-before", "torn", "enospc"),
    ("call-sent", "call-answered", "step-after", "eio"),
)
"""What is dealt to one home in a row in the quick suite. A write fault comes last: it may need a `restore`."""
SILENT_KINDS: tuple[tuple[Kind, ...], ...] = (
    ("step-before", "step-after", "torn", "enospc"),
    ("step-after", "torn", "step-before", "eio"),
)
"""The same where the command makes no call."""
FRESH, SOAK_EACH = 4, 5
"""How many stories more are drawn in the quick suite; strikes of each scenario and kind in a soak."""


class Place(NamedTuple):
    """Where to strike: the scenario, the kinds in a row, and how far in the run, from 0 to 1; None: drawn."""

    scenario: str
    kinds: tuple[Kind, ...]
    moment: float | None
    number: int = 0


def quick() -> list[Place]:
    """A fixed spread over kinds, moments and scenarios, and a few that differ from run to run."""
    places: list[Place] = []
    for name in QUICK_SCENARIOS:
        stories = QUICK_KINDS if "call-sent" in kinds_of(SCENARIOS[name]) else SILENT_KINDS
        places += [Place(name, kinds, _spread(len(places) + turn)) for turn, kinds in enumerate(stories)]
    return places + [Place(QUICK_SCENARIOS[turn], ("random",), None) for turn in range(FRESH)]


def _spread(number: int) -> float:
    """The golden ratio spreads any number of points."""
    return (number * 0.618) % 1


def soak() -> list[Place]:
    """Each scenario and kind in turn, alone, at moments that are drawn."""
    return [
        Place(name, (kind,), None)
        for name, scenario in SCENARIOS.items()
        for kind in kinds_of(scenario)
        for _ in range(SOAK_EACH)
    ]


def parameters() -> list[Any]:
    """Of the test: all that is struck."""
    marked: list[tuple[Place, tuple[pytest.MarkDecorator, ...]]] = [(place, ()) for place in quick()]
    marked += [(place, (pytest.mark.soak,)) for place in soak()]
    return [
        pytest.param(
            place._replace(number=number),
            marks=[*marks, pytest.mark.xdist_group(place.scenario)],
            id=f"{place.scenario}-{'-then-'.join(place.kinds)}-{number}",
        )
        for number, (place, marks) in enumerate(marked)
    ]


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
    strikes = [
        choose(SCENARIOS[place.scenario], kind, expected, (moment + _spread(turn)) % 1, seed)
        for turn, kind in enumerate(place.kinds)
    ]
    if len(strikes) > 1:
        strikes = in_a_row(strikes, expected)
    judge(bench, strikes, expected, record_property)


def test_the_strike_that_the_option_names_holds(
    bench: Bench,
    seen: Callable[[str], Undisturbed],
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    strikes = parse_story(request.config.getoption("--strike"))
    print(f"The home that is struck is the last case in {bench.folder}")
    judge(bench, strikes, seen(strikes[0].scenario), record_property)


def judge(
    bench: Bench, strikes: Sequence[Strike], seen: Undisturbed, record_property: Callable[[str, object], None]
) -> None:
    """Deal ``strikes`` in a row and fail with what is wrong, and with the command that replays it.

    Where the command came to its end before it met all of them, each is dealt alone.
    """
    stories = [list(strikes)]
    try:
        wrong = held(bench, strikes, seen)
    except NotStruck:
        stories = [[strike] for strike in strikes]
        wrong = [line for story in stories for line in _alone(bench, story, seen)]
    for strike in strikes:
        record_property(KIND, strike.kind)
    record_property(STRIKE, as_text(strikes))
    record_property(RESULT, "wrong" if wrong else "held")
    replays = [f"python -m pytest bms_pipeline_tests/strikes --strike='{as_text(story)}'" for story in stories]
    if wrong:
        pytest.fail("\n".join([f"{as_text(strikes)} did not hold; replay:", *replays, *wrong]), pytrace=False)


def _alone(bench: Bench, story: list[Strike], seen: Undisturbed) -> list[str]:
    try:
        return held(bench, story, seen)
    except NotStruck:
        story[0] = replace(story[0], nth=1)  # this run had fewer of them
        return held(bench, story, seen)
