"""A record's story: one whole sentence for every way a record can stand, its time line, and both sides compared."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bms_pipeline.bms.sweep.manifest import Manifest, QuarantinedRecord
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.reasons import Reason
from bms_pipeline.core.vocabulary import Disposition, Operation, Outcome, Verb
from bms_pipeline.plan.standings import MEANS, ClientWaitedFor, NextStep, Standing, Story
from bms_pipeline.reconcile.decisions import Decision
from bms_pipeline.reports import figures, stories
from bms_pipeline.reports.read_models import DecisionTaken, Match, PlannedOperation, RecordStory, WriteDone
from bms_pipeline.reports.stories import ClientName, Mark
from bms_pipeline.sync import deciding
from bms_pipeline_tests.building import World, account, contact, in_passportal, opened_world

AT = datetime(2026, 11, 25, 23, 47)
CODES = [code for code in Reason if "_" in code]
BLOCKED_BY_CLIENT = [code for code in Reason if code.startswith("client_")]
DECIDED = {
    "excluded_by_person": Verb.EXCLUDE, "created_by_person": Verb.CREATE, "matched_by_person": Verb.MATCH,
    "unmatched_by_person": Verb.UNMATCH,
}  # fmt: skip
"""Reason → the decision without which there is no such reason."""


def write(operation: Operation = Operation.ADOPT, outcome: Outcome | None = Outcome.DONE, **more: object) -> WriteDone:
    """One line of the journal."""
    row = WriteDone(
        plan_id=2, operation=operation, reason="identical_name", client_id=None, passportal_id="P1",
        changes=[{"field": "phone", "before": None, "after": "1"}], intent_at=AT,
        outcome=outcome and outcome.value, outcome_at=AT, detail=None, unmark_id=None, left_at=None, portion=1,
        marked_at=None,
    )  # fmt: skip
    return replace(row, **more)  # type: ignore[arg-type]


def taken(verb: Verb, why: str | None = None) -> DecisionTaken:
    """Robin's decision."""
    return DecisionTaken(AT, "Robin", verb.value, None, None, "P1", why)


def record(standing: Standing, reason: str, **more: object) -> RecordStory:
    """A contact that stands like this."""
    client = ClientWaitedFor(10, "Acme", Standing.UNMATCHED) if standing is Standing.BLOCKED else None
    stands = Story(standing, MEANS[standing], reason, None, NextStep.NOTHING, None, client)
    found = RecordStory(
        entity="contacts", bms_id=100, standing=stands, in_bms={"name": "Ann Lee", "name_key": "ann lee"},
        decided=None, decisions=[], match=None, in_passportal=None, plan=None, suggestions=[], candidates=[],
        history=[],
    )  # fmt: skip
    return replace(found, **more)  # type: ignore[arg-type]


def told(found: RecordStory) -> str:
    return stories.plain(stories.sentence(found, ClientName(10, "Acme", "Robin")))


def assert_whole(text: str) -> None:
    assert re.fullmatch(r"[A-Z].*[.]", text), text
    assert "_" not in text.replace("PASSPORTAL_TEMPLATES", "a setting's name")
    assert not [code for code in CODES if code in text], text
    assert not re.search(r"None|\{|\}|  | \.|\.\.|,,|; ;|;\.|:\.", text), text
    assert text.count("“") == text.count("”")


@pytest.mark.parametrize("standing", list(Standing))
def test_every_standing_and_reason_has_a_whole_sentence_without_codes(standing: Standing) -> None:
    """Also where the ledger of an older home names nobody, and where a load wrote something."""
    for reason in Reason:
        made = Match("P1", reason, AT)
        for found in (
            record(standing, reason),
            record(standing, reason, match=made, history=[write()]),
            record(standing, reason, match=made, history=[write(Operation.CREATE)]),
            record(standing, reason, match=made, history=[write(), write(Operation.UPDATE, reason=Reason.TAKEN_BACK)]),
            record(standing, reason, history=[write(outcome=Outcome.REFUSED, detail="Email is not valid")]),
            record(standing, reason, history=[write(outcome=None)]),
            record(standing, reason, decisions=[taken(verb, "we know") for verb in Verb]),
        ):
            assert_whole(told(found))


@pytest.mark.parametrize(("reason", "verb"), DECIDED.items())
def test_a_sentence_names_the_person_who_decided_and_when(reason: str, verb: Verb) -> None:
    standing = {
        Verb.EXCLUDE: Standing.EXCLUDED, Verb.CREATE: Standing.TO_CREATE, Verb.MATCH: Standing.IN_SYNC,
        Verb.UNMATCH: Standing.UNMATCHED,
    }[verb]  # fmt: skip
    text = told(record(standing, reason, decisions=[taken(verb)]))
    assert "Robin" in text
    assert "on 25 Nov 2026" in text


@pytest.mark.parametrize("reason", BLOCKED_BY_CLIENT)
def test_a_record_that_waits_for_its_client_names_it(reason: str) -> None:
    assert told(record(Standing.BLOCKED, reason)).startswith("Waits for its client Acme, ")


@pytest.mark.parametrize("outcome", [*Outcome, None])
@pytest.mark.parametrize("operation", [operation for operation in Operation if operation is not Operation.SKIP])
def test_every_write_has_a_line_without_codes(outcome: Outcome | None, operation: Operation) -> None:
    for reason, unmarked in itertools.product(Reason, (None, "P9")):
        row = write(operation, outcome, reason=reason, unmark_id=unmarked, changes=[], detail="it is too long")
        (event,) = stories.events(record(Standing.IN_SYNC, "match", history=[row]))
        assert_whole(f"{event.text}.")
        assert "lan 2" in event.text


@pytest.mark.parametrize("verb", [*Verb, "a verb of a later version"])
def test_every_decision_has_a_line_that_names_the_person(verb: str) -> None:
    row = DecisionTaken(AT, "Robin", str(verb), "ambiguous (several_in_bms)", "excluded", None, "we know")
    (event,) = stories.events(record(Standing.EXCLUDED, "excluded_by_person", decisions=[row]))
    assert event.text.startswith("Robin ")
    assert event.text.endswith(": “we know”")
    assert "_" not in event.text


def test_a_match_by_a_person_says_whether_the_names_are_nearly_the_same() -> None:
    here = {"name": "Acme Ltd", "name_key": "acme ltd", "loose_key": "acme"}
    there = {"name": "ACME", "name_key": "acme", "loose_key": "acme"}
    found = record(
        Standing.IN_SYNC, "matched_by_person", in_bms=here, in_passportal=there, decisions=[taken(Verb.MATCH)],
        history=[write(intent_at=AT + timedelta(hours=1))],
    )  # fmt: skip
    assert told(found) == (
        "Matched by Robin on 25 Nov 2026 because the names are nearly the same; loaded on 26 Nov 2026, Phone filled in."
    )
    apart = replace(found, in_passportal={"name": "Other", "name_key": "other", "loose_key": "other"})
    assert ", although the names differ" in told(apart)
    assert "because the names are the same" in told(replace(found, in_passportal=here))


def test_what_a_load_did_not_write_is_a_sentence_of_its_own() -> None:
    plan = PlannedOperation(
        account_id=10, client_id="C1", passportal_id="P1", name="Ann", disposition=Disposition.MATCHED,
        operation=Operation.SKIP, reason="passportal_value_kept", changes=None,
        kept=[{"field": "email", "bms": "a@b.example", "passportal": "c@d.example"}],
        no_place=[{"field": "job_title", "bms": "Head"}], unlinked=None, needs=None,
        template="Contact", template_id="320", unmark_id=None, needs_approval=False, held_back=False, unproved=False,
    )  # fmt: skip
    text = told(record(Standing.IN_SYNC, "identical_name", plan=plan))
    assert "Passportal keeps its own Email Address, where BMS has another value." in text
    assert text.endswith("Its template in Passportal has no field for Job Title.")
    assert_whole(text)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two clients and their contacts, loaded; then a person edits one side, another record goes, BMS changes one."""
    with opened_world(tmp_path / "home") as found:
        found.accounts = [account(10, "Acme Ltd"), account(11, "Borealis"), account(12, None)]
        found.contacts = [
            contact(100, 10, "Ann", "Lee", "ann@acme.example"),
            contact(101, 10, "Bo", "Day", "bo@acme.example"),
            contact(102, 11, "Cy", "Fox"),
        ]
        found.passportal_holds(clients=[in_passportal("P1", "ACME LTD")])
        found.plan()
        deciding.decide(found.warehouse, [Decision("exclude", "clients", 11, why="not ours")], "Robin")
        found.cycle()
        yield found


def test_a_sentence_is_true_of_a_real_record(world: World) -> None:
    def text(entity: str, bms_id: int) -> str:
        return stories.plain(stories.tell(world.warehouse, entity, bms_id).sentence)

    assert re.fullmatch(r"Matched on \d.* because both sides have the same name; loaded on .*\.", text("clients", 10))
    assert re.fullmatch(r"Created in Passportal on \d.* because it had no such record\.", text("contacts", 100))
    assert re.fullmatch(r"Excluded by Robin on \d+ \w+ \d{4}: “not ours”\.", text("clients", 11))
    assert text("contacts", 102) == "Waits for its client Borealis, which Robin excluded."
    assert text("clients", 12) == "Waits for a decision: has no name in BMS."

    world.contacts = [contact(100, 10, "Ann", "Lee", "new@acme.example")]
    edited = "map_concat(details, MAP {'Email Address': 'hers@acme.example'})"
    world.edit_passportal(f"UPDATE records SET details = {edited} WHERE title = 'Ann Lee'")
    world.plan()
    assert text("contacts", 100).endswith("Passportal keeps its own Email Address, where BMS has another value.")
    assert re.fullmatch(
        r"Gone from BMS on \d.*; a complete reading proved it\. It is kept in Passportal\.", text("contacts", 101)
    )


def test_both_sides_are_compared_field_by_field_with_the_owner_of_each(world: World) -> None:
    world.set("ownership", {"contacts.email": "bms_wins"})
    world.contacts[0] = contact(100, 10, "Ann", "Lee", "new@acme.example")
    world.edit_passportal(
        "UPDATE records SET details = map_concat(details, MAP {'Job Title': 'Head'}) WHERE title = 'Ann Lee'"
    )
    world.plan()
    rows = {row.label: row for row in stories.tell(world.warehouse, "contacts", 100).fields}
    email = rows["Email Address"]
    assert (email.bms, email.passportal, email.owner) == ("new@acme.example", "ann@acme.example", "BMS")
    assert email.mark is Mark.WRITES
    assert rows["Name"].mark is Mark.SAME
    assert (rows["Job Title"].bms, rows["Job Title"].passportal, rows["Job Title"].mark) == (None, "Head", Mark.DIFFERS)


def test_what_was_taken_back_says_so_and_waits_again(world: World) -> None:
    deciding.plan_undo(world.warehouse, int(figures.loads(world.warehouse)[0]["plan_id"]))
    world.finish()
    world.plan()
    story = stories.tell(world.warehouse, "clients", 10)
    assert re.fullmatch(r"Waits for a decision: plan \d+ took its match back on \d.*\.", stories.plain(story.sentence))
    assert "took back what a load had written" in story.events[-1].text
    assert [event.at for event in story.events] == sorted(event.at for event in story.events)


def test_a_record_that_was_set_aside_says_why_and_where_it_is(world: World) -> None:
    world.land(set_aside={"contacts": [150]})
    (sweep,) = world.query(
        "SELECT sweep FROM sync.sweeps WHERE list_call = 'contacts' ORDER BY landed_at DESC LIMIT 1"
    )[0]
    folder = world.settings.landing_folder / "contacts" / sweep
    Manifest(
        sweep=sweep, list_call="contacts", mode="full", modified_since=None, tenant="", started="", touched="",
        quarantined=[QuarantinedRecord(1, 1, "a key comes twice in one object", 150)],
    ).save(folder)  # fmt: skip
    with pytest.raises(PipelineError) as refused:
        stories.tell(world.warehouse, "contacts", 150, world.settings.landing_folder)
    assert refused.value.message == (
        "BMS lists contact 150, but the record could not be stored and was set aside: a key comes twice in one object."
    )
    assert str(folder / "quarantine.ndjson") in refused.value.next_step
    with pytest.raises(PipelineError, match="has listed no contact"):
        stories.tell(world.warehouse, "contacts", 151, world.settings.landing_folder)
