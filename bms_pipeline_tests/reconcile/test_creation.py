"""Who may be created when: before the first finish, afterwards, by a toggle, by a person's word."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from bms_pipeline.entities import ENTITIES, EntityName
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline_tests.building import World, account, asset, contact, employee, in_passportal, location, opened_world

EARLY, LATE = 10, 20
"""BMS ids of what was first seen before and after the first finish."""
CREATE, WAIT = "to create", "unmatched"
INSIDE = ("locations", "contacts", "assets")

# state → entity → (what was there before the first finish, what came after it)
TABLE: dict[str, dict[EntityName, tuple[str, str]]] = {
    "before the first finish": {
        "clients": (WAIT, WAIT), "users": (WAIT, WAIT), **dict.fromkeys(INSIDE, (CREATE, CREATE)),
    },
    "before, a person says create unmatched": dict.fromkeys(("clients", "users", *INSIDE), (CREATE, CREATE)),
    "afterwards, toggles as they come": {
        "clients": (WAIT, WAIT), "users": (WAIT, WAIT), "assets": (CREATE, WAIT),
        "locations": (CREATE, CREATE), "contacts": (CREATE, CREATE),
    },
    "afterwards, all toggles on": {
        "clients": (WAIT, CREATE), "users": (WAIT, CREATE), **dict.fromkeys(INSIDE, (CREATE, CREATE)),
    },
    "afterwards, all toggles off": {
        "clients": (WAIT, WAIT), "users": (WAIT, WAIT), **dict.fromkeys(INSIDE, (CREATE, WAIT)),
    },
    "afterwards, a person says create unmatched": dict.fromkeys(("clients", "users", *INSIDE), (CREATE, CREATE)),
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two new records of every entity, one on each side of the first finish."""
    with opened_world(tmp_path_factory.mktemp("creation")) as world:
        world.passportal_holds(clients=[in_passportal("C1", "Matched")])
        for when in (EARLY, LATE):
            names = f"Name {when}"
            world.accounts = [
                account(1, "Matched", *(location(n, f"Site {n}") for n in (EARLY, LATE) if n <= when)),
                *(each for each in world.accounts if each["id"] != 1),
                account(when, names),
            ]
            world.employees.append(employee(when, "User", str(when)))
            world.contacts.append(contact(when, 1, "Contact", str(when)))
            world.assets.append(asset(when, 1, f"PC {when}"))
            world.land()
            if when == EARLY:
                finished_at = datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")
        world.reconcile()
        world.sweeps = 99
        world.query("CREATE TABLE main.finish AS SELECT ?::VARCHAR AS at", finished_at)
        yield world


@pytest.fixture(scope="module", params=TABLE)
def decided(request: pytest.FixtureRequest, world: World) -> tuple[str, dict[EntityName, tuple[str, ...]]]:
    """A state, and what was decided in it."""
    state: str = request.param
    world.query("DELETE FROM sync.settings")
    if state.startswith("afterwards"):
        ((finished_at,),) = world.query("FROM main.finish")
        world.set("initial_sync_finished_at", finished_at)
    if "all toggles" in state:
        world.set("auto_create", {each.name: state.endswith("on") for each in ENTITIES})
    world.decide(Scope(create_unmatched="create unmatched" in state))
    found = {each.name: world.decisions(each.name) for each in ENTITIES}
    return state, {name: tuple(found[name][n].disposition for n in (EARLY, LATE)) for name in found}


@pytest.mark.parametrize("entity", [each.name for each in ENTITIES])
def test_who_may_be_created(decided: tuple[str, dict[EntityName, tuple[str, ...]]], entity: EntityName) -> None:
    state, found = decided
    assert found[entity] == TABLE[state][entity]


def test_a_record_that_came_into_another_client_after_the_first_finish_is_new_there(world: World) -> None:
    world.query("DELETE FROM sync.settings")
    ((finished_at,),) = world.query("FROM main.finish")
    world.set("initial_sync_finished_at", finished_at)
    world.assets[0] = asset(EARLY, EARLY, "PC 10")
    world.passportal_holds(clients=[in_passportal("C10", "Name 10")])
    world.reconcile()
    assert world.decisions("clients")[EARLY].disposition == "matched"
    assert world.decisions("assets")[EARLY] == ("unmatched", "waits_for_decision", None)


def test_what_waits_is_matched_as_soon_as_a_person_has_entered_it_in_passportal(world: World) -> None:
    world.query("DELETE FROM sync.settings")
    world.passportal_holds(users=[in_passportal("U10", "user 10")])
    world.reconcile()
    assert world.decisions("users")[EARLY] == ("matched", "identical_name", "U10")
    assert world.decisions("users")[LATE].disposition == "unmatched"
