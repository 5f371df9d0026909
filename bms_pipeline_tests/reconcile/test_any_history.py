"""Whatever people decide, however BMS and Passportal change, whenever a sync runs: the rules of DESIGN.md hold."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import Phase
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bms_pipeline.core.entities import BY_NAME
from bms_pipeline.core.errors import DecisionRefused, PlanWaits
from bms_pipeline.core.vocabulary import LINKS, words
from bms_pipeline.plan import standings
from bms_pipeline.plan.standings import Standing
from bms_pipeline.reconcile.decisions import VERBS, Decision
from bms_pipeline.sync import deciding
from bms_pipeline_tests.building import CREATE_ALL, World, account, contact, in_passportal, opened_world
from bms_pipeline_tests.exploring import examples

NAMES = ("Acme", "ACME", "Acme Ltd", "Beta")
PEOPLE = ("Ann", "Bob")
STANDS = {"skip": Standing.IN_SYNC, "update": Standing.DIFFERS, "adopt": Standing.TO_MATCH}
"""What the plan does to a matched record → how that record stands until it is loaded."""
CLIENT_IDS, CONTACT_IDS = range(1, 4), range(1, 5)
ENTITIES = (BY_NAME["clients"], BY_NAME["contacts"])
entity_and_id = st.one_of(
    st.tuples(st.just("clients"), st.sampled_from(CLIENT_IDS)),
    st.tuples(st.just("contacts"), st.sampled_from(CONTACT_IDS)),
)


class History(RuleBasedStateMachine):
    """Clients and contacts of few names, so that they meet in every way there is."""

    def __init__(self) -> None:
        super().__init__()
        self._open = ExitStack()
        home = Path(self._open.enter_context(tempfile.TemporaryDirectory())) / "home"
        self.world: World = self._open.enter_context(opened_world(home, entities=ENTITIES))
        self.unsynced = True

    def teardown(self) -> None:
        """Close the databases."""
        self._open.close()

    @initialize(
        clients=st.lists(st.sampled_from(NAMES), min_size=2, max_size=3),
        contacts=st.lists(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(CLIENT_IDS)), min_size=2, max_size=4),
        known=st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
        people=st.lists(st.sampled_from(PEOPLE), max_size=2),
    )
    def there_is(
        self, clients: list[str], contacts: list[tuple[str, int]], known: list[str], people: list[str]
    ) -> None:
        world = self.world
        world.accounts = [account(n, name) for n, name in enumerate(clients, start=1)]
        world.contacts = [
            contact(n, min(where, len(clients)), name, "Lee") for n, (name, where) in enumerate(contacts, start=1)
        ]
        held = {"clients": [in_passportal(f"P{n}", name) for n, name in enumerate(known)]}
        if known:
            held["contacts"] = [in_passportal(f"p{n}", f"{name} Lee", "P0") for n, name in enumerate(people)]
        world.passportal_holds(**{name: rows for name, rows in held.items() if rows})
        world.reconcile()

    @rule(verb=st.sampled_from(VERBS), about=entity_and_id, partner=st.integers(0, 6), allow_duplicate=st.booleans())
    def somebody_decides(self, verb: str, about: tuple[str, int], partner: int, allow_duplicate: bool) -> None:
        entity, bms_id = about
        partners = self.world.query(f"SELECT passportal_id FROM passportal.{entity} ORDER BY ALL") or [("none",)]
        found = partners[partner % len(partners)][0] if verb in LINKS else None
        decision = Decision(verb, entity, bms_id, found, allow_duplicate=allow_duplicate and verb == "create")
        before = self.world.lasting()
        try:
            self.world.say(decision)
        except DecisionRefused:
            assert self.world.lasting() == before, "what is refused changes nothing"
            return
        after = self.world.lasting()
        assert self.world.say(decision).taken == 0, "said twice, it is one"
        assert self.world.lasting() == after
        self.world.decide()  # what is inside a client is decided anew with the next plan
        self.unsynced = True

    @rule(bms_id=st.sampled_from(CONTACT_IDS), where=st.sampled_from(CLIENT_IDS), name=st.sampled_from(PEOPLE))
    def bms_changes_a_contact(self, bms_id: int, where: int, name: str) -> None:
        where = min(where, len(self.world.accounts))
        others = [each for each in self.world.contacts if each["id"] != bms_id]
        self.world.contacts = [*others, contact(bms_id, where, name, "Lee")]
        self.unsynced = True

    @rule(bms_id=st.sampled_from(CLIENT_IDS), name=st.sampled_from(NAMES))
    def bms_renames_a_client(self, bms_id: int, name: str) -> None:
        for each in self.world.accounts:
            if each["id"] == bms_id:
                each["accountName"] = name
        self.unsynced = True

    @rule(bms_id=st.sampled_from(CONTACT_IDS))
    def bms_loses_a_contact(self, bms_id: int) -> None:
        self.world.contacts = [each for each in self.world.contacts if each["id"] != bms_id]
        self.unsynced = True

    @rule(entity=st.sampled_from(("clients", "contacts")), on=st.booleans())
    def somebody_switches(self, entity: str, on: bool) -> None:
        deciding.change_settings(self.world.warehouse, {f"sync.{entity}": "on" if on else "off"}, "a person")
        self.unsynced = True

    @rule(all_of_it=st.booleans())
    def a_person_syncs(self, all_of_it: bool) -> None:
        """Rule 1: afterwards nothing is left to do."""
        before = {each.title: each for each in self.world.content()}
        self.world.cycle(CREATE_ALL if all_of_it else None)
        self.nothing_was_lost(before)
        assert self.world.plan().operations == 0
        self.standings_are_what_a_plan_made_now_says()
        self.unsynced = False

    @precondition(lambda self: self.unsynced)
    @rule()
    def the_schedule_syncs(self) -> None:
        before = {each.title: each for each in self.world.content()}
        self.world.plan()
        self.standings_are_what_a_plan_made_now_says()
        try:
            counts = self.world.load()
        except PlanWaits:
            return
        # Rule 7: every record is accounted for.
        for each in counts.values():
            assert each["read"] == sum(number for name, number in each.items() if name != "read")
        self.nothing_was_lost(before)

    def nothing_was_lost(self, before: dict[str, Any]) -> None:
        """Rule 5: nothing is deleted in Passportal (a record may be renamed)."""
        assert len(self.world.content()) >= len(before)

    def standings_are_what_a_plan_made_now_says(self) -> None:
        """Rule 14: counted from matches and records, they come to the same as a plan made now."""
        with self.world.warehouse.open() as connection:
            rows = connection.execute(
                "SELECT o.entity, o.bms_id, s.standing, o.disposition, o.operation"
                f" FROM sync.operations o LEFT JOIN ({standings.all_records(connection)}) s USING (entity, bms_id)"
            ).fetchall()
        assert rows or not self.world.accounts
        for entity, bms_id, standing, disposition, operation in rows:
            expected = STANDS[operation] if disposition == "matched" else words(disposition)
            assert standing == expected, (entity, bms_id, standing, expected)

    @invariant()
    def every_record_has_one_standing(self) -> None:
        """At every moment, also between a decision and the next plan."""
        with self.world.warehouse.open() as connection:
            counted = standings.counts(connection)
        for entity, by_standing in counted.items():
            ((read,),) = self.world.query(f"SELECT count(*) FROM bms.{entity} WHERE missing_since IS NULL")
            assert sum(by_standing.values()) - by_standing[Standing.GONE] == read

    @invariant()
    def nothing_is_there_twice(self) -> None:
        """Rules 2 and 3: a BMS record has one record in a client, and a match one on each side."""
        marked = [(each.type, each.client, each.marker) for each in self.world.content() if each.marker]
        if len({each["accountName"] for each in self.world.accounts}) == len(self.world.accounts):
            assert len(marked) == len(set(marked))
        for side, links in (("bms_id", "true"), ("passportal_id", "reason <> 'branch_by_person'")):
            query = f"SELECT entity, {side} FROM sync.matches WHERE {links} GROUP BY ALL HAVING count(*) > 1"
            assert not self.world.query(query)

    @invariant()
    def nothing_crosses_a_client(self) -> None:
        """Rule 3: what is decided as matched lies in the client that the record's account is matched to."""
        assert not self.world.query(
            "SELECT r.bms_id FROM sync.reconciled_contacts r JOIN passportal.contacts p USING (passportal_id)"
            " JOIN sync.reconciled_clients c ON c.bms_id = r.account_id"
            " WHERE r.disposition = 'matched' AND p.client_id IS DISTINCT FROM c.passportal_id"
        )

    @invariant()
    def nobody_s_word_is_overruled(self) -> None:
        """What was excluded or taken apart is not matched by a rule; what was matched by a person is no one else's."""
        for entity in ("clients", "contacts"):
            assert not self.world.query(
                f"SELECT r.bms_id FROM sync.reconciled_{entity} r JOIN sync.non_matches t"
                f" ON t.entity = '{entity}' AND t.bms_id = r.bms_id AND t.passportal_id = r.passportal_id"
                " WHERE r.disposition = 'matched'"
            )
            assert not self.world.query(
                f"SELECT r.bms_id FROM sync.reconciled_{entity} r JOIN sync.exclusions e"
                f" ON e.entity = '{entity}' AND e.bms_id = r.bms_id WHERE r.disposition IN ('matched', 'to_create')"
            )


TestHistories = History.TestCase
"""A few of at most twelve steps in every run of the suite, many by `make soak`."""

# Making a history shorter takes longer than reading a long one: each step is half a second.
TestHistories.settings = examples(2, 150, stateful_step_count=12, phases=(Phase.explicit, Phase.reuse, Phase.generate))
