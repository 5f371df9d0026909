"""What was made from the same inputs is left as it is: nobody can tell it from what would be made again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import hypothesis.strategies as st
import pytest
from hypothesis import Phase
from hypothesis.stateful import invariant, precondition, rule

from bms_pipeline.core.entities import Entity
from bms_pipeline.plan import operations as plans
from bms_pipeline.reconcile.matching import Scope, reconcile_all
from bms_pipeline.reports import figures
from bms_pipeline.sync import deciding, recovery, run_lock
from bms_pipeline_tests.building import World, account, contact, in_passportal
from bms_pipeline_tests.exploring import examples
from bms_pipeline_tests.reconcile.test_any_history import CLIENT_IDS, NAMES, History

SCOPES = st.sampled_from([None, *((each,) for each in CLIENT_IDS)])


def planned(
    connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], scope: Scope
) -> dict[str, list[tuple[Any, ...]]]:
    """What is decided and planned from what is stored, record by record."""
    reconcile_all(connection, entities)
    plans.fill_plan(connection, entities, scope)
    return {
        table: connection.execute(f"FROM {table} ORDER BY bms_id").fetchall()
        for entity in entities
        for table in (f"sync.reconciled_{entity.name}", f"sync.planned_{entity.name}")
    }


def forget_all(world: World) -> None:
    with world.warehouse.transaction() as connection:
        connection.execute("DELETE FROM sync.made_from")


def versions(world: World) -> list[tuple[Any, ...]]:
    return world.query("SELECT name, version FROM sync.input_versions ORDER BY name")


class Remembering(History):
    """The same histories, with everything else that writes what a plan is made from."""

    scope = Scope()

    @invariant()
    def a_plan_made_with_nothing_remembered_is_the_same(self) -> None:
        with self.world.warehouse.trial() as connection:
            remembered = planned(connection, self.world.synced, self.scope)
            connection.execute("DELETE FROM sync.made_from")
            assert planned(connection, self.world.synced, self.scope) == remembered

    @rule()
    def both_services_are_read_again(self) -> None:
        self.world.reconcile()
        remembered = versions(self.world)
        forget_all(self.world)
        self.world.reconcile()
        assert versions(self.world) == remembered, "nothing was overlooked the first time"

    @rule(chosen=SCOPES)
    def somebody_plans(self, chosen: tuple[int, ...] | None) -> None:
        self.scope = Scope(chosen)
        self.world.plan(self.scope)

    @precondition(lambda self: bool(figures.loads(self.world.warehouse)))
    @rule(is_finished=st.booleans())
    def somebody_takes_a_load_back(self, is_finished: bool) -> None:
        plan_id = figures.loads(self.world.warehouse)[-1]["plan_id"]
        (undone,) = self.world.query("SELECT undoes FROM sync.plans WHERE plan_id = ?", plan_id)
        if undone == (None,):
            deciding.plan_undo(self.world.warehouse, plan_id)
            if is_finished:
                self.world.finish()
        self.unsynced = True

    @rule(name=st.sampled_from(NAMES))
    def somebody_edits_passportal(self, name: str) -> None:
        self.world.edit_passportal(
            "UPDATE records SET title = ? WHERE number = (SELECT max(number) FROM records WHERE type = 'client')", name
        )
        self.unsynced = True

    @rule(table=st.sampled_from(("bms.contacts", "bms.clients")))
    def the_clock_was_ahead_and_is_right_now(self, table: str) -> None:
        with self.world.warehouse.transaction() as connection:
            connection.execute(f"UPDATE {table} SET first_seen = first_seen + INTERVAL 30 DAY")
        self.world.land()
        self.unsynced = True


TestRememberingHistories = Remembering.TestCase
"""One long history in every run of the suite, many by `make soak`."""
TestRememberingHistories.settings = examples(
    1, 100, stateful_step_count=12, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)


@pytest.fixture
def synced(world: World) -> World:
    world.accounts = [account(1, "Acme"), account(2, "Beta")]
    world.contacts = [contact(1, 1, "Ann", "Lee"), contact(2, 2, "Bob", "Ray")]
    world.passportal_holds(clients=[in_passportal("A", "Acme")])
    world.cycle()
    world.plan()
    return world


def test_only_what_another_input_decides_about_is_planned_again(synced: World) -> None:
    made = "SELECT name, inputs FROM sync.made_from"
    before = set(synced.query(made))
    synced.contacts[0]["firstName"] = "Anna"
    synced.plan()
    assert {name for name, _ in set(synced.query(made)) - before} == {
        "landed.contacts",
        "reconciled.contacts",
        "planned.contacts",
    }


def test_a_database_that_is_put_back_remembers_nothing_of_what_a_copy_leaves_out(synced: World) -> None:
    synced.let_go_of_the_warehouse()
    with run_lock.running(synced.settings):  # its end makes a copy
        pass
    recovery.restore(synced.settings, recovery.find_restorable(synced.settings))
    assert synced.query("FROM sync.made_from") == []
    assert synced.plan().operations == 0
    assert synced.decisions("contacts")[1].disposition == "matched"


def test_another_version_of_the_rules_decides_again(synced: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with synced.warehouse.transaction() as connection:
        connection.execute("UPDATE sync.reconciled_clients SET reason = 'as the old rules said'")
    synced.plan()
    assert synced.decisions("clients")[1].reason == "as the old rules said", "the same inputs, the same rules"
    monkeypatch.setattr("bms_pipeline.warehouse.inputs.rules", lambda: "another version")
    synced.plan()
    assert synced.decisions("clients")[1].reason == "match"
