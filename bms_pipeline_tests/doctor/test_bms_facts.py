"""Each habit of a BMS shows as exactly its facts, whichever of our two stand-ins has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline.doctor.examine import examine
from bms_pipeline.doctor.findings import Examination
from bms_pipeline_tests.doctor.examining import Examined, changed, examined, new_home
from bms_pipeline_tests.running import Home, running_home
from bms_pipeline_tests.stranger.bms import BmsHabits
from bms_pipeline_tests.stranger.habits import HABITS, promises
from bms_sandbox.behaviour import Behaviour

SMALL_PAGES = BmsHabits(clamp=6)
"""So that every list has several pages, and pages of assets can be halved."""

# Switch → its value → the facts that it changes; None: not proved any more.
STRANGER: dict[str, dict[Any, dict[str, str | None]]] = {
    "keys": {
        "pascal": {"BMS-KEYS": "PascalCase, envelope camelCase"},
        "lower": {"BMS-KEYS": "lower case, envelope camelCase"},
        "upper": {"BMS-KEYS": "CAPITALS, envelope camelCase"},
        "mixed": {"BMS-KEYS": "mixed, envelope camelCase"},
    },
    "envelope": {"pascal": {"BMS-KEYS": "camelCase, envelope PascalCase"}},
    "clamp": {
        1: {"BMS-CLAMP": "1", "BMS-ORDER": None, "BMS-SORT": None},
        7: {"BMS-CLAMP": "7"},
        25: {"BMS-CLAMP": "25"},
    },
    "pages": {
        "ignored": {"BMS-PAGES": "ignored", "BMS-END": "the first page again"},
        "from zero": {"BMS-PAGES": "from 0"},
        "everything at once": {"BMS-PAGES": None, "BMS-CLAMP": None},
        "everything each time": {"BMS-PAGES": None, "BMS-CLAMP": None, "BMS-END": "the first page again"},
    },
    "past_end": {
        "null": {"BMS-END": "null"},
        "last": {"BMS-END": "the last page again"},
        "first": {"BMS-END": "the first page again"},
        "204": {"BMS-END": "HTTP 204"},
        "400": {"BMS-END": "HTTP 400"},
        "404": {"BMS-END": "HTTP 404"},
        "500": {"BMS-END": "HTTP 500"},
        "success false": {"BMS-END": "success is false"},
        "no result": {"BMS-END": "null"},
    },
    "total": {
        "absent": {"BMS-TOTAL": "absent", "BMS-PAGES": None},
        "null": {"BMS-TOTAL": "absent", "BMS-PAGES": None},
        "page": {"BMS-TOTAL": "does not add up", "BMS-PAGES": None, "BMS-END": None},
        "zero": {"BMS-TOTAL": "does not add up", "BMS-PAGES": None},
        "text": {"BMS-TOTAL": "not a whole number", "BMS-PAGES": None},
        "float": {"BMS-TOTAL": "not a whole number", "BMS-PAGES": None},
        "minus one": {"BMS-TOTAL": "not a whole number", "BMS-PAGES": None},
        "one more": {"BMS-TOTAL": "does not add up"},
        "one less": {"BMS-TOTAL": "does not add up"},
        "words": {"BMS-TOTAL": "not a whole number", "BMS-PAGES": None},
        "also for assets": {"BMS-TOTAL-ASSETS": "given"},
    },
    "order": {"descending": {"BMS-SORT": "ignored"}, "by name": {"BMS-SORT": "ignored"}},
    "sort": {
        "ignored": {"BMS-SORT": "ignored"},
        "only rising": {"BMS-SORT": "only rising"},
        "refused 400": {"BMS-SORT": "not accepted"},
        "refused 422": {"BMS-SORT": "not accepted"},
        "refused 500": {"BMS-SORT": "not accepted"},
    },
    "modified": {
        "ignored": {"BMS-FILTER": "ignored"},
        "refused 400": {"BMS-FILTER": "not accepted"},
        "date only": {"BMS-FILTER": "not accepted"},
        "with zone": {"BMS-FILTER": "with a time zone"},
    },
    "repeated": {True: {}},
    "hole": {"empty once": {"BMS-PAGES": None}, "short always": {}},
    "nulls": {"omitted": {}},
    "text": {"html entities": {}},
    "blank": {"empty text": {}},
    "extra": {True: {}},
    "stamps": {
        "zulu": {"BMS-STAMPS": "with a time zone"},
        "offset": {"BMS-STAMPS": "with a time zone"},
        "seven digits": {},
        "date only": {"BMS-STAMPS": "as dates only", "BMS-DATES": "midnight"},
    },
    "login": {"multipart": {"BMS-SIGN-IN": "multipart"}, "form": {}},
    "tokens": {"short": {"BMS-TOKEN": "3 seconds, with a time zone"}},
    "types": {"null": {"BMS-TYPES": None}, "empty": {"BMS-TYPES": None}, "names only": {"BMS-TYPES": None}},
    "detail": {"bare": {"BMS-DETAIL": "bare"}, "other id": {"BMS-DETAIL": None}},
    "coding": {"gzip": {}, "deflate": {}, "chunked": {}, "byte order mark": {}},
}
STRANGER_WITHOUT_FACT = {
    "renamed": "a missing field is a finding of its own, BMS-FIELDS",
    "faults": "a fault now and then is no habit to rely on; see test_services_in_trouble",
    "fault_share": "see faults",
    "numbers": "ids that are no numbers stop a sync: BMS-FIELDS",
    "booleans": "account types that are no booleans stop a sync: BMS-LISTS",
    "success": "an answer without success is no BMS: BMS-LOGIN",
    "unknown_parameters": "no stand-in has another value yet",
    "accounts": "doctor asks for no client's records; a reading of one client finds it out and refuses the rest",
    "single": "doctor asks for no single account; see test_one_client_sweep",
}

SANDBOX: dict[str, tuple[Any, dict[str, str | None]]] = {
    "token_lifetime_seconds": (120, {"BMS-TOKEN": "2 minutes, with a time zone"}),
    "zoned_expiry": (False, {"BMS-TOKEN": "15 minutes, without a time zone"}),
    "pascal_case_envelope": (True, {"BMS-KEYS": "camelCase, envelope PascalCase"}),
    "page_totals": (False, {"BMS-TOTAL": "absent"}),
}
SANDBOX_WITHOUT_FACT = {
    "wrong_password": "only a wrong password shows it, and several lock the user",
    "hourly_limit": "only the last call of an hour shows it",
    "retry_after": "only a refusal by the limit shows it",
    "tenant_id": "it is no habit; a sync refuses another tenant",
    "account_filter": "doctor asks for no client's records; see test_one_client_sweep",
    "latency_seconds": "it is no habit; see test_services_in_trouble",
    "faults": "see test_services_in_trouble",
    "failing_share": "see test_services_in_trouble",
    "failing_seed": "see test_services_in_trouble",
    "halved": "a list that lost half of its records looks like any other; a breaker sees it",
}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Examined:
    """A stranger's BMS as the document has it, in small pages."""
    return examined(new_home(tmp_path_factory.mktemp("honest")), SMALL_PAGES)


@pytest.mark.parametrize(("switch", "value"), [(switch, value) for switch in STRANGER for value in STRANGER[switch]])
def test_each_habit_of_a_stranger_changes_exactly_its_facts(
    tmp_path: Path, honest: Examined, switch: str, value: Any
) -> None:
    seen = examined(new_home(tmp_path), dataclasses.replace(SMALL_PAGES, **{switch: value}))

    assert changed(honest.report, seen.report) == STRANGER[switch][value]
    assert len(seen.bms_calls) <= 24
    assert all(call.startswith(("GET ", "POST /v2/security/authenticate?")) for call in seen.bms_calls)


def test_every_switch_has_a_fact_or_a_reason() -> None:
    own = {field.name for field in dataclasses.fields(BmsHabits)}
    assert own == {*STRANGER, *STRANGER_WITHOUT_FACT}
    assert {field.name for field in dataclasses.fields(Behaviour)} == {*SANDBOX, *SANDBOX_WITHOUT_FACT}


REFUSED = [habit for habit in HABITS if habit.service == "BMS" and promises()[habit.name].verdict == "refused"]


@pytest.mark.parametrize("habit", REFUSED, ids=lambda habit: habit.name)
def test_what_a_sync_refuses_is_in_the_way_before_it_starts(tmp_path: Path, habit: Any) -> None:
    seen = examined(new_home(tmp_path), dataclasses.replace(BmsHabits(), **habit.switches))

    assert seen.report.exit_code == 1


def test_all_odd_habits_at_once_end_with_right_facts(tmp_path: Path, honest: Examined) -> None:
    odd = BmsHabits(
        clamp=9, keys="pascal", past_end="404", total="absent", sort="refused 500", modified="with zone",
        stamps="zulu", login="multipart", tokens="short", detail="bare", nulls="omitted", coding="gzip", extra=True,
    )  # fmt: skip

    seen = examined(new_home(tmp_path), odd)

    assert len(seen.bms_calls) <= 24
    assert changed(honest.report, seen.report) == {
        "BMS-CLAMP": "9",
        "BMS-DETAIL": "bare",
        "BMS-END": "HTTP 404",
        "BMS-FILTER": "with a time zone",
        "BMS-KEYS": "PascalCase, envelope camelCase",
        "BMS-PAGES": None,
        "BMS-SIGN-IN": "multipart",
        "BMS-SORT": "not accepted",
        "BMS-STAMPS": "with a time zone",
        "BMS-TOKEN": "3 seconds, with a time zone",
        "BMS-TOTAL": "absent",
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_home(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture(scope="module")
def before(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Examination:
    """The sandbox as it is by default."""
    folder = new_home(tmp_path_factory.mktemp("before"))
    return examine(home.settings.model_copy(update={"bms_pipeline_home": folder}))


@pytest.mark.parametrize("switch", SANDBOX)
def test_each_switch_of_the_sandbox_changes_exactly_its_fact(
    home: Home, before: Examination, tmp_path: Path, switch: str
) -> None:
    value, expected = SANDBOX[switch]
    home.sandbox.behave(**{switch: value})
    home.sandbox.reset_calls()
    try:
        after = examine(home.settings.model_copy(update={"bms_pipeline_home": new_home(tmp_path / "after")}))
        calls = home.sandbox.calls()
    finally:
        home.sandbox.behave(**{switch: Behaviour().as_switches()[switch]})

    assert changed(before, after) == expected
    assert sum(calls.values()) == after.calls["BMS"] <= 24
    assert {call for call in calls if not call.startswith("GET ")} == {"POST /v2/security/authenticate"}
