"""What a day does to a tenant."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec
import pytest

from bms_pipeline_tests.sandbox.oracle import name_key
from bms_sandbox.mutate import Mutations, mutate
from bms_sandbox.tenant import Tenant, generate

Records = dict[str, dict[int, dict[str, Any]]]


def by_entity(tenant: Tenant) -> Records:
    lists = {name: {(each := json.loads(row))["id"]: each for row in rows} for name, rows in tenant.rows.items()}
    return {
        "clients": lists["accounts"],
        "users": lists["employees"],
        "contacts": lists["contacts"],
        "assets": lists["assets"],
        "locations": {
            each["id"]: {**each, "accountId": account["id"]}
            for account in lists["accounts"].values()
            for each in account["locations"] or []
        },
    }


def name_of(entity: str, record: dict[str, Any]) -> str:
    fields = {"clients": "accountName", "locations": "locationName", "assets": "assetName"}
    text = record[fields[entity]] if entity in fields else f"{record['firstName']} {record['lastName']}"
    return name_key(text)


@pytest.fixture(scope="module")
def day() -> tuple[Records, Records, Mutations]:
    tenant = generate("small", 1)
    before = by_entity(tenant)
    mutations = mutate(tenant, 5)
    return before, by_entity(tenant), mutations


ENTITIES = ("clients", "users", "locations", "contacts", "assets")


@pytest.mark.parametrize("entity", ENTITIES)
def test_something_of_every_kind_happens_to_every_entity(day: tuple[Records, Records, Mutations], entity: str) -> None:
    changes = msgspec.to_builtins(day[2].entities[entity])
    kinds = {"new", "renamed", "edited", "deactivated", "deleted"}
    if entity in {"contacts", "assets"}:
        kinds.add("moved")
    assert {kind for kind, ids in changes.items() if ids and kind != "touched"} == kinds


@pytest.mark.parametrize("entity", ENTITIES)
def test_the_summary_is_the_whole_difference(day: tuple[Records, Records, Mutations], entity: str) -> None:
    before, after, changes = day[0][entity], day[1][entity], day[2].entities[entity]
    assert set(changes.new) == set(after) - set(before)
    assert set(changes.deleted) == set(before) - set(after)
    both = set(before) & set(after)
    renamed = {each for each in both if name_of(entity, before[each]) != name_of(entity, after[each])}
    assert renamed == set(changes.renamed)
    assert {each for each in both if before[each]["isActive"] and not after[each]["isActive"]} == set(
        changes.deactivated
    )
    if entity in {"contacts", "assets"}:
        moved = {each for each in both if before[each]["accountId"] != after[each]["accountId"]}
        assert moved == set(changes.moved)
    ignored = {"modifiedOn", "modifiedBy", "createdOn", "accountName", "locations"}
    differ = {
        each
        for each in both
        if any(before[each][key] != after[each][key] for key in before[each] if key not in ignored)
    }
    noted = {*changes.renamed, *changes.moved, *changes.edited, *changes.deactivated, *changes.touched}
    assert differ - noted == set()
    assert set(changes.edited) - differ == set()


@pytest.mark.parametrize("entity", ENTITIES)
def test_new_and_changed_names_are_unlike_all_others(day: tuple[Records, Records, Mutations], entity: str) -> None:
    after, changes = day[1][entity], day[2].entities[entity]
    names = [name_of(entity, each) for each in after.values()]
    assert all(names.count(name_of(entity, after[each])) == 1 for each in (*changes.new, *changes.renamed))


@pytest.mark.parametrize("entity", ["clients", "contacts"])
def test_changes_bear_a_later_stamp_than_anything_before(day: tuple[Records, Records, Mutations], entity: str) -> None:
    before, after, changes = day[0][entity], day[1][entity], day[2].entities[entity]
    newest = max(each["modifiedOn"] or "" for each in before.values())
    changed = {*changes.new, *changes.renamed, *changes.moved, *changes.edited, *changes.deactivated}
    assert all(after[each]["modifiedOn"] > newest for each in changed)


def test_days_follow_each_other_and_the_same_days_are_the_same() -> None:
    one, other = generate("small", 3), generate("small", 3)
    stamps = []
    for tenant in (one, other):
        for seed in (1, 1, 2):
            mutate(tenant, seed)
            stamps.append(max(json.loads(row)["modifiedOn"] or "" for row in tenant.rows["contacts"]))
    assert one.rows == other.rows
    assert stamps[:3] == sorted(set(stamps[:3]))


def test_the_hours_of_a_day_change_about_what_a_day_changes() -> None:
    tenant = generate("small", 3)
    happened: Counter[str] = Counter()
    for hour in range(24):
        for kind, ids in msgspec.to_builtins(mutate(tenant, hour, hours=1).entities["assets"]).items():
            happened[kind] += len(ids)
    # 4 of 400 of each kind a day; one in twenty such days has more than 7 or less than 1 of a kind.
    assert all(1 <= happened[kind] <= 10 for kind in ("new", "renamed", "moved", "edited", "deactivated"))


def test_a_tenant_never_runs_dry_and_gives_no_id_twice() -> None:
    tenant = generate("small", 3)
    given: Counter[tuple[str, int]] = Counter()
    for day in range(60):
        for entity, changes in mutate(tenant, day).entities.items():
            given.update((entity, each) for each in changes.new)
    assert all(tenant.rows.values())
    assert set(given.values()) == {1}


def test_a_changed_location_need_not_change_its_account() -> None:
    tenant = generate("small", 1)
    before = by_entity(tenant)["clients"]
    changes = mutate(tenant, 5, location_bumps_account=False).entities
    after = by_entity(tenant)
    accounts = {after["locations"][each]["accountId"] for each in changes["locations"].edited}
    untouched = accounts - {*changes["clients"].edited, *changes["clients"].renamed, *changes["clients"].deactivated}
    assert untouched
    assert all(after["clients"][each]["modifiedOn"] == before[each]["modifiedOn"] for each in untouched)
