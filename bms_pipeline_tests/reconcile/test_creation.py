"""Who may be created when: before the first finish, afterwards, by a toggle, by a person's word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from bms_pipeline.core.entities import ENTITIES, EntityName
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline_tests.building import (
    CREATE_ALL,
    World,
    account,
    asset,
    contact,
    employee,
    in_passportal,
    location,
    opened_world,
)

EARLY, LATE = 10, 20
"""BMS ids of what was first seen before and after the first finish."""
CREATE, WAIT = "to_create", "unmatched"
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


@dataclass
class Tenant:
    """Two new records of every entity, one first seen on each side of the first finish."""

    world: World
    finished_at: str

    def be(self, state: str) -> Scope:
        """Have the settings and decisions of ``state``; what its runs look at."""
        self.world.query("DELETE FROM sync.settings")
        self.world.query("DELETE FROM sync.approved_creates")
        if state.startswith("afterwards"):
            self.world.set("initial_sync_finished_at", self.finished_at)
        if "all toggles" in state:
            self.world.set("auto_create", {each.name: state.endswith("on") for each in ENTITIES})
        return CREATE_ALL if "create unmatched" in state else Scope()


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    with opened_world(tmp_path_factory.mktemp("creation")) as world:
        tenant = Tenant(world, "")
        world.passportal_holds(clients=[in_passportal("C1", "Matched")])
        world.accounts = [account(1, "Matched")]
        for when in (EARLY, LATE):
            world.accounts[0]["locations"].append(location(when, f"Site {when}"))
            world.accounts.append(account(when, f"Name {when}"))
            world.employees.append(employee(when, "User", str(when)))
            world.contacts.append(contact(when, 1, "Contact", str(when)))
            world.assets.append(asset(when, 1, f"PC {when}"))
            world.land()
            tenant.finished_at = tenant.finished_at or datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")
        world.reconcile()
        yield tenant


@pytest.fixture(scope="module", params=TABLE)
def decided(request: pytest.FixtureRequest, tenant: Tenant) -> tuple[str, dict[EntityName, tuple[str, ...]]]:
    """A state, and what was decided in it."""
    state: str = request.param
    tenant.world.decide(tenant.be(state))
    found = {each.name: tenant.world.decisions(each.name) for each in ENTITIES}
    return state, {name: tuple(found[name][n].disposition for n in (EARLY, LATE)) for name in found}


@pytest.mark.parametrize("entity", [each.name for each in ENTITIES])
def test_who_may_be_created(decided: tuple[str, dict[EntityName, tuple[str, ...]]], entity: EntityName) -> None:
    state, found = decided
    assert found[entity] == TABLE[state][entity]


def test_a_record_that_came_into_another_client_after_the_first_finish_is_new_there(tenant: Tenant) -> None:
    scope = tenant.be("afterwards, toggles as they come")
    tenant.world.assets[0] = asset(EARLY, EARLY, "PC 10")
    tenant.world.passportal_holds(clients=[in_passportal("C10", "Name 10")])
    tenant.world.reconcile(scope)
    assert tenant.world.decisions("clients")[EARLY].disposition == "matched"
    assert tenant.world.decisions("assets")[EARLY] == ("unmatched", "waits_for_decision", None)


def test_what_waits_is_matched_as_soon_as_a_person_has_entered_it_in_passportal(tenant: Tenant) -> None:
    scope = tenant.be("before the first finish")
    tenant.world.passportal_holds(users=[in_passportal("U10", "user 10")])
    tenant.world.reconcile(scope)
    assert tenant.world.decisions("users")[EARLY] == ("matched", "identical_name", "U10")
    assert tenant.world.decisions("users")[LATE].disposition == "unmatched"
