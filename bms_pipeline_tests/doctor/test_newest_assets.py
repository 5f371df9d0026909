"""Where BMS was seen to sort, an incremental sync asks for the newest assets first; nothing is concluded from them."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.bms.client import Page
from bms_pipeline.bms.sweep.newest import MOST_PAGES, ids_since, read_newest
from bms_pipeline.core.entities import ASSETS_LIST, ListCall
from bms_pipeline_tests.doctor.examining import a_tenant
from bms_pipeline_tests.stranger.bms import BmsHabits
from bms_pipeline_tests.stranger.living import Person, living
from bms_pipeline_tests.stranger.tenants import Tenant

PAGE = 20
SEARCH = "/v2/servicedesk/hardwareasset/searchselect"


@contextmanager
def person_with(folder: Path, *, examines: bool = True, **habits: Any) -> Iterator[Person]:
    """A person who let doctor look, if ``examines``, and read everything once."""
    made = a_tenant()
    own = Tenant(made.label, copy.deepcopy(made.records))
    with living(folder, own, BmsHabits(clamp=PAGE, **habits)) as person:
        if examines:
            assert person.do("doctor").returncode in (0, 2), person.said()
        assert person.do("preview").returncode in (0, 2), person.said()
        yield person


def calls_for_assets(person: Person) -> list[str]:
    return [call.lower() for call in person.bms.calls if SEARCH in call.lower()]


def newest_calls(calls: list[str]) -> list[str]:
    return [call for call in calls if "sort=-id" in call]


def synced(person: Person, calls_left: int | None = None) -> list[str]:
    """An incremental sync; the calls for assets that it made. ``calls_left``: as many as the hour has for them."""
    made = len(calls_for_assets(person))
    limit = {} if calls_left is None else {"BMS_CALLS_PER_HOUR": str(made + calls_left)}
    ran = person.call("sync", "--incremental", **limit)
    assert ran.returncode in (0, 2), ran.stdout + ran.stderr
    return calls_for_assets(person)[made:]


def bought(person: Person, number: int = 1) -> list[int]:
    """New assets in BMS, as copies of another; their ids."""
    assets = person.bms.records["assets"]
    highest = max(asset["Id"] for asset in assets)
    ids = [highest + step for step in range(1, number + 1)]
    for bms_id in ids:
        assets.append({**assets[0], "Id": bms_id, "AssetName": f"new {bms_id}", "SerialNumber": f"SN-{bms_id}"})
    return ids


def stored(person: Person) -> set[int]:
    return {row[0] for row in person.warehouse("SELECT bms_id FROM bms.assets WHERE missing_since IS NULL")}


def sort_fact(person: Person) -> list[str]:
    query = "SELECT value FROM sync.facts WHERE name = 'BMS-SORT' ORDER BY seen_at"
    return [row[0] for row in person.warehouse(query)]


def test_new_assets_appear_while_the_sweep_waits_for_calls(tmp_path: Path) -> None:
    with person_with(tmp_path) as person:
        before, (new,) = stored(person), bought(person)
        sweeps = person.warehouse("SELECT * FROM sync.sweeps WHERE list_call = 'assets'")

        calls = synced(person, calls_left=3)

        assert len(newest_calls(calls)) == 1
        assert "pagenumber=1" in newest_calls(calls)[0]
        assert stored(person) == before | {new}, "nothing is gone: the newest prove nothing about the others"
        assert person.warehouse("SELECT * FROM sync.sweeps WHERE list_call = 'assets'") == sweeps, "it is no sweep"


def test_further_pages_are_asked_for_only_while_all_ids_are_new(tmp_path: Path) -> None:
    with person_with(tmp_path) as person:
        before, new = stored(person), bought(person, 2 * PAGE + 5)

        calls = synced(person, calls_left=5)

        assert len(newest_calls(calls)) == 3
        assert stored(person) == before | set(new)


def test_where_nothing_is_new_it_costs_one_call(tmp_path: Path) -> None:
    with person_with(tmp_path) as person:
        before = stored(person)
        usual = [call for call in synced(person) if "sort=-id" not in call]

        calls = synced(person)

        assert len(newest_calls(calls)) == 1
        assert len(calls) == len(usual) + 1
        assert stored(person) == before
        assert not (person.settings.landing_folder / "newest").exists()


def test_a_later_complete_sweep_proves_absence_as_ever_and_spares_the_newest(tmp_path: Path) -> None:
    with person_with(tmp_path) as person:
        (new,) = bought(person)
        synced(person, calls_left=4)
        assert new in stored(person)
        synced(person)
        assert new in stored(person)
        gone = person.bms.records["assets"].pop(0)["Id"]

        synced(person)

        assert new in stored(person)
        assert gone not in stored(person)
        assert list((person.settings.landing_folder / "newest").rglob("*.zst")) == []


def test_newest_assets_that_cannot_land_wait_for_the_sweep(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with person_with(tmp_path) as person:
        before, (new,) = stored(person), bought(person)
        person.bms.records["assets"][-1]["AccountId"] = {"not": "a number"}

        synced(person, calls_left=3)

        assert stored(person) == before
        assert "wait for the whole list" in caplog.text
        assert new not in stored(person)


@pytest.mark.parametrize("sort", ["ignored", "refused 400", "only rising"])
def test_where_bms_does_not_sort_backwards_the_calls_are_those_of_today(tmp_path: Path, sort: str) -> None:
    with person_with(tmp_path / "with", sort=sort) as person:
        bought(person)
        known = synced(person)
    with person_with(tmp_path / "without", sort=sort, examines=False) as person:
        bought(person)
        unknown = synced(person)

    assert newest_calls(known) == []
    assert len(known) <= len(unknown)


def test_where_nothing_is_known_the_calls_are_those_of_today(tmp_path: Path) -> None:
    with person_with(tmp_path, examines=False) as person:
        assert newest_calls(synced(person)) == []


@pytest.mark.parametrize("command", [("sync",), ("preview",), ("sync", "--incremental", "--full-sweep")])
def test_only_an_incremental_sync_asks(tmp_path: Path, command: tuple[str, ...]) -> None:
    with person_with(tmp_path) as person:
        made = len(calls_for_assets(person))
        person.do(*command)
        assert newest_calls(calls_for_assets(person)[made:]) == []


@pytest.mark.parametrize("now_it", ["only rising", "ignored", "refused 400"])
def test_an_answer_that_is_not_sorted_is_dropped_and_the_fact_contradicted_and_said(
    tmp_path: Path, now_it: str, caplog: pytest.LogCaptureFixture
) -> None:
    with person_with(tmp_path) as person:
        assert sort_fact(person) == ["honoured"]
        before, (new,) = stored(person), bought(person)
        object.__setattr__(person.bms.habits, "sort", now_it)

        calls = synced(person, calls_left=3)

        assert len(newest_calls(calls)) == 1
        assert stored(person) == before, "the answer is dropped"
        assert new not in stored(person)
        assert sort_fact(person) == ["honoured", "only rising"]
        assert "asked for the newest assets first" in caplog.text
        assert newest_calls(synced(person, calls_left=3)) == [], "it is not asked again"


class NewestPages:
    """A BMS with these pages of falling ids, and no other."""

    def __init__(self, *pages: list[int]) -> None:
        self.pages = pages
        self.asked: list[int] = []

    def newest(self, list_call: ListCall, number: int) -> Page:
        self.asked.append(number)
        ids = self.pages[number - 1] if number <= len(self.pages) else []
        return Page(number, json.dumps([{"id": bms_id} for bms_id in ids]).encode(), ids)


@given(
    st.sets(st.integers(1, 60), max_size=40), st.sets(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 7)
)
def test_exactly_the_pages_up_to_the_first_known_id_are_read(
    tmp_path_factory: pytest.TempPathFactory, known: set[int], there: set[int], size: int
) -> None:
    falling, folder = sorted(there, reverse=True), tmp_path_factory.mktemp("landing")
    bms = NewestPages(*[falling[at : at + size] for at in range(0, len(falling), size)])

    found = read_newest(bms, ASSETS_LIST, folder, known)

    pages_of_new = next((at for at, page in enumerate(bms.pages) if known.intersection(page)), len(bms.pages))
    assert len(bms.asked) == min(pages_of_new + 1, MOST_PAGES)
    assert found.objection == ""
    read = {bms_id for page in bms.pages[: len(bms.asked)] for bms_id in page}
    assert set(ids_since(folder, ASSETS_LIST, "2020-01-01T00:00:00+00:00")) == (read if read - known else set())
    assert ids_since(folder, ASSETS_LIST, "2999-01-01T00:00:00+00:00") == []


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6))
def test_ids_that_do_not_fall_are_never_landed(tmp_path_factory: pytest.TempPathFactory, ids: list[int]) -> None:
    folder = tmp_path_factory.mktemp("landing")

    found = read_newest(NewestPages(ids), ASSETS_LIST, folder, set())

    falls = all(one > two for one, two in itertools.pairwise(ids))
    assert bool(found.objection) is not falls
    assert (found.folder is None) is not falls
