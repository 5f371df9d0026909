"""What people decide: what each verb does, what it refuses and why, and that nothing decided is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from bms_pipeline.core.entities import ASSETS, BY_NAME, CLIENTS, CONTACTS
from bms_pipeline.core.errors import DecisionError, DecisionRefused
from bms_pipeline.reconcile.decisions import Decision, Selection
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.sync import deciding, planning
from bms_pipeline_tests.building import Decided, World, account, asset, contact, in_passportal, opened_world
from bms_pipeline_tests.exploring import examples

ACME, BETA, NEAR, TWIN, OTHER_TWIN, NAMELESS = range(1, 7)


def fill(world: World) -> None:
    """Two clients that match, and others that wait; a contact and an asset in each."""
    world.accounts = [
        account(ACME, "Acme"),
        account(BETA, "Beta"),
        account(NEAR, "Gamma Ltd"),
        account(TWIN, "Twin"),
        account(OTHER_TWIN, "twin"),
        account(NAMELESS, " "),
    ]
    world.contacts = [contact(1, ACME, "Ann", "Lee"), contact(2, BETA, "Ann", "Lee"), contact(3, ACME, "Bob", "Ray")]
    world.assets = [asset(1, ACME, "PC-1"), asset(2, NEAR, "PC-2")]
    world.passportal_holds(
        clients=[in_passportal("A", "ACME"), in_passportal("B", "Beta"), in_passportal("G", "Gamma Limited")],
        contacts=[in_passportal("ann", "Ann Lee", "A"), in_passportal("robert", "Robert Ray", "A")],
    )


@pytest.fixture(scope="module")
def reconciled(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Filled and decided, nothing loaded."""
    entities = (CLIENTS, CONTACTS, ASSETS)
    with opened_world(tmp_path_factory.mktemp("reconciled"), entities=entities) as world:
        fill(world)
        world.reconcile()
    return world


@pytest.fixture(scope="module")
def cycled(reconciled: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """After a first sync, in which all was created that nothing spoke against."""
    with opened_world(tmp_path_factory.mktemp("cycled") / "home", like=reconciled) as world:
        world.cycle()
        world.set("initial_sync_finished_at", "2026-01-01 00:00:00")  # as a cycle of all five would
    return world


@pytest.fixture
def world(reconciled: World, tmp_path: Path) -> Iterator[World]:
    """A copy of ``reconciled``: nothing is loaded yet."""
    with opened_world(tmp_path / "home", like=reconciled) as world:
        yield world


@pytest.fixture
def synced(cycled: World, tmp_path: Path) -> Iterator[World]:
    """A copy of ``cycled``."""
    with opened_world(tmp_path / "synced", like=cycled) as world:
        yield world


@pytest.fixture(scope="module")
def undecided(reconciled: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A copy of ``reconciled`` for decisions that are refused, and so leave it as it is."""
    with opened_world(tmp_path_factory.mktemp("undecided") / "home", like=reconciled) as world:
        yield world


def refusal(world: World, *decisions: Decision) -> str:
    """Why these are refused; nothing that lasts has changed."""
    before = world.lasting()
    with pytest.raises(DecisionRefused) as refused:
        world.say(*decisions)
    assert world.lasting() == before
    return refused.value.message


def test_a_match_by_a_person_is_loaded_by_the_next_finish_and_lasts(world: World) -> None:
    world.match("contacts", 3, "robert")
    assert world.decisions("contacts")[3] == Decided("matched", "matched_by_person", "robert")
    world.plan()
    assert world.operations("contacts")[3].operation == "adopt"
    world.finish()
    assert ("contacts", 3, "robert") in world.lasting()["matches"]
    assert world.plan().operations == 0


def test_an_unmatched_pair_stays_apart_and_loses_its_marker(synced: World) -> None:
    assert synced.unmatch("contacts", 1).taken == 1
    assert synced.unmatch("contacts", 1).taken == 0, "said twice before it is loaded, it is one"
    assert synced.decisions("contacts")[1] == Decided("unmatched", "unmatched_by_person")
    synced.plan()
    operation = synced.operations("contacts")[1]
    assert (operation.operation, operation.reason) == ("update", "unmatched_by_person")
    synced.finish()
    assert [each.marker for each in synced.content() if each.title == "Ann Lee" and each.client == "ACME"] == [None]
    assert synced.plan().operations == 0
    assert synced.decisions("contacts")[1] == Decided("unmatched", "unmatched_by_person")


def test_what_was_taken_apart_can_be_created_matched_elsewhere_or_matched_again(cycled: World, tmp_path: Path) -> None:
    for number, (verb, expected) in enumerate(
        {
            "create": [("Ann Lee", None), ("Ann Lee", "1"), ("Bob Ray", "3"), ("Robert Ray", None)],
            "elsewhere": [("Ann Lee", None), ("Bob Ray", "3"), ("Robert Ray", "1")],
            "again": [("Ann Lee", "1"), ("Bob Ray", "3"), ("Robert Ray", None)],
        }.items()
    ):
        with opened_world(tmp_path / str(number), like=cycled) as world:
            world.unmatch("contacts", 1)
            if verb == "create":
                world.create("contacts", 1)
            else:
                world.match("contacts", 1, "robert" if verb == "elsewhere" else "ann")
            world.cycle()
            inside = [
                (each.title, each.marker)
                for each in world.content()
                if each.type == "contact" and each.client == "ACME"
            ]
            assert sorted(inside, key=str) == sorted(expected, key=str)
            assert world.plan().operations == 0


def test_excluding_keeps_the_match_and_including_brings_it_back(synced: World) -> None:
    matches = synced.lasting()["matches"]
    synced.exclude("clients", ACME)
    synced.plan()
    assert synced.decisions("clients")[ACME].disposition == "excluded"
    assert synced.decisions("contacts")[1] == Decided("blocked", "client_excluded")
    synced.cycle()
    synced.include("clients", ACME)
    assert synced.plan().operations == 0
    assert synced.lasting()["matches"] == matches


def test_excluded_before_it_was_created_it_is_created_once_included(world: World) -> None:
    world.create("clients", NEAR, allow_duplicate=True)
    world.exclude("clients", NEAR)
    world.cycle(None)
    assert "Gamma Ltd" not in world.titles("client")
    world.include("clients", NEAR)
    world.cycle(None)
    assert world.titles("client").count("Gamma Ltd") == 1
    assert world.lasting()["approved_creates"] == [], "the word is kept"


def test_include_as_create_and_as_match_in_one_go(world: World) -> None:
    world.exclude("contacts", 3)
    world.exclude("clients", BETA)
    world.say(Decision("include", "contacts", 3), Decision("match", "contacts", 3, "robert"))
    assert world.decisions("contacts")[3].passportal_id == "robert"
    world.say(Decision("include", "clients", BETA), Decision("match", "clients", BETA, "B"))
    assert world.decisions("clients")[BETA].passportal_id == "B"


def test_a_decision_said_twice_is_one(world: World) -> None:
    said = [
        Decision("match", "contacts", 3, "robert"),
        Decision("exclude", "assets", 1),
        Decision("create", "clients", NEAR, allow_duplicate=True),
    ]
    assert world.say(*said).taken == 3
    before = world.lasting()
    again = world.say(*said)
    assert (again.taken, again.already) == (0, 3)
    assert world.lasting() == before
    assert world.query("SELECT count(*) FROM sync.decisions") == [(3,)]


def test_the_ledger_tells_who_when_from_what_to_what_and_why(world: World) -> None:
    deciding.decide(world.warehouse, [Decision("exclude", "clients", TWIN, why="a test account")], "Uma")
    assert world.query("SELECT decided_by, verb, entity, bms_id, was, became, why FROM sync.decisions") == [
        ("Uma", "exclude", "clients", TWIN, "ambiguous (several_in_bms)", "excluded", "a test account")
    ]


@pytest.mark.parametrize(
    ("decision", "because"),
    [
        (Decision("match", "contacts", 99, "ann"), "BMS has listed no contact with this id"),
        (Decision("match", "contacts", 3, "nobody"), "Passportal has no contact nobody"),
        (
            Decision("match", "contacts", 3, "ann"),
            "ann is matched to contact 1 of BMS (identical_name); unmatch that first",
        ),
        (Decision("match", "contacts", 2, "robert"), "robert lies in client A, the record in B"),
        (Decision("match", "contacts", 1, "robert"), "it is matched to ann (identical_name); unmatch it first"),
        (Decision("match", "assets", 2, "x"), "its client 3 is neither matched nor to be created"),
        (Decision("create", "assets", 2), "its client 3 is neither matched nor to be created"),
        (Decision("create", "contacts", 1), "it is matched to ann (identical_name); unmatch it first"),
        (Decision("create", "clients", NEAR), "Passportal has one of nearly its name"),
        (Decision("create", "clients", TWIN), "BMS has another of its name"),
        (Decision("create", "clients", NAMELESS), "it has no name"),
        (Decision("unmatch", "contacts", 3), "it is not matched"),
    ],
    ids=str,
)
def test_what_would_break_a_rule_is_refused_with_the_reason(undecided: World, decision: Decision, because: str) -> None:
    assert because in refusal(undecided, decision)


def test_one_refused_decision_refuses_the_whole_batch(undecided: World) -> None:
    told = refusal(undecided, Decision("exclude", "clients", TWIN), Decision("match", "contacts", 3, "nobody", line=7))
    assert "1 of 2 decisions cannot be taken, so none was" in told
    assert "line 7: match contact 3: Passportal has no contact nobody" in told


def test_two_records_for_one_partner_are_refused_both(world: World) -> None:
    world.exclude("clients", TWIN)
    told = refusal(world, Decision("match", "clients", NEAR, "G"), Decision("match", "clients", OTHER_TWIN, "G"))
    assert "is matched to client 3 of BMS" in told


def test_contradictions_in_one_batch_are_refused(undecided: World) -> None:
    assert "another decision in the same batch says exclude" in refusal(
        undecided, Decision("exclude", "clients", TWIN), Decision("create", "clients", TWIN)
    )


def test_the_order_of_a_batch_means_nothing(reconciled: World, tmp_path: Path) -> None:
    said = [
        Decision("match", "contacts", 3, "ann"),
        Decision("unmatch", "contacts", 1),
        Decision("create", "assets", 2),
        Decision("create", "clients", NEAR, allow_duplicate=True),
        Decision("exclude", "clients", TWIN),
        Decision("create", "clients", OTHER_TWIN),
    ]
    states = []
    for number, order in enumerate((said, said[::-1], said[3:] + said[:3])):
        with opened_world(tmp_path / str(number), like=reconciled) as world:
            world.say(*order)
            states.append((world.lasting(), world.decisions("clients"), world.decisions("contacts")))
    assert states[0] == states[1] == states[2]


SAID = (
    Decision("match", "contacts", 3, "robert"),
    Decision("unmatch", "contacts", 1),
    Decision("exclude", "contacts", 2),
    Decision("exclude", "clients", TWIN),
    Decision("create", "clients", OTHER_TWIN),  # refused for as long as its twin is not excluded
    Decision("create", "clients", NEAR, allow_duplicate=True),
    Decision("create", "assets", 2),  # refused for as long as its client is not decided
    Decision("match", "clients", BETA, "B"),
)


@examples(2, 60)
@given(st.data())
def test_decisions_one_by_one_in_any_order_end_in_the_same_state(
    reconciled: World, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(SAID), min_size=3, unique=True))
    states = []
    for order in (chosen, data.draw(st.permutations(chosen + chosen))):
        with opened_world(tmp_path_factory.mktemp("order") / "home", like=reconciled) as world:
            waiting = list(order)
            while waiting:  # what was refused is said again once another decision made it possible
                refused = [each for each in waiting if not taken(world, each)]
                if len(refused) == len(waiting):
                    break
                waiting = refused
            states.append((world.lasting(), world.decisions("clients"), world.decisions("contacts")))
    assert states[0] == states[1]


def taken(world: World, decision: Decision) -> bool:
    """Say it; whether it was taken."""
    try:
        world.say(decision)
    except DecisionRefused:
        return False
    return True


def test_a_record_gone_from_bms_can_give_its_partner_to_another(synced: World) -> None:
    synced.contacts = [each for each in synced.contacts if each["id"] != 1] + [contact(7, ACME, "Anna", "Lee")]
    synced.reconcile()
    assert "ann is matched to contact 1 of BMS" in refusal(synced, Decision("match", "contacts", 7, "ann"))
    synced.unmatch("contacts", 1)
    synced.match("contacts", 7, "ann")
    synced.cycle()
    assert [(each.title, each.marker) for each in synced.content() if each.marker == "7"] == [("Ann Lee", "7")]
    assert synced.plan().operations == 0


def test_a_record_whose_partner_is_gone_is_created_again_when_a_person_says_so(synced: World) -> None:
    synced.edit_passportal("DELETE FROM records WHERE id = 'ann'")
    synced.reconcile()
    assert synced.decisions("contacts")[1].reason == "passportal_record_gone"
    synced.create("contacts", 1)
    synced.cycle(None)
    assert synced.titles("contact").count("Ann Lee") == 2, "one in each client"
    assert synced.plan().operations == 0


def test_a_record_that_moved_can_be_created_or_matched_in_its_new_client(synced: World) -> None:
    synced.passportal_holds(contacts=[in_passportal("bobby", "Bobby Ray", "B")])
    synced.contacts[0]["accountId"] = synced.contacts[2]["accountId"] = BETA  # Ann, of whom Beta has one, and Bob
    synced.reconcile()
    synced.match("contacts", 3, "bobby")
    synced.create("contacts", 1, allow_duplicate=True)
    synced.cycle()
    markers = {(each.client, each.title): each.marker for each in synced.content() if each.type == "contact"}
    assert markers["Beta", "Bobby Ray"] == "3"
    assert synced.titles("contact").count("Ann Lee") == 3, "the old one stays, Beta's own, and this"
    assert synced.plan().operations == 0


def test_create_unmatched_leaves_alone_what_is_unsure(world: World) -> None:
    world.accounts.append(account(8, "Delta"))
    world.cycle()
    assert world.titles("client") == ["ACME", "Beta", "Delta", "Gamma Limited"]


def test_auto_match_makes_lasting_what_the_rules_found(world: World) -> None:
    taken = deciding.decide_all(world.warehouse, "auto_match", [BY_NAME["clients"], BY_NAME["contacts"]], "a person")
    assert {name: each.taken for name, each in taken.items()} == {"clients": 2, "contacts": 1}
    world.edit_passportal("UPDATE records SET title = 'Renamed since' WHERE id = 'A'")
    world.reconcile()
    assert world.decisions("clients")[ACME] == Decided("matched", "identical_name", "A")


def test_a_decision_about_one_record_tells_whom_else_it_concerns(world: World) -> None:
    changes = world.exclude("clients", TWIN).changes
    assert [(each.was, each.becomes, each.records, each.examples) for each in changes] == [
        ("ambiguous (several_in_bms)", "excluded (excluded_by_person)", 1, ("4 Twin",)),
        ("ambiguous (several_in_bms)", "unmatched (waits_for_decision)", 1, ("5 twin",)),
    ]


def test_tried_decisions_change_nothing(world: World) -> None:
    before = world.lasting()
    tried = deciding.decide(world.warehouse, [Decision("exclude", "clients", TWIN)], "a person", dry_run=True)
    assert tried.taken == 1
    assert world.lasting() == before
    assert world.decisions("clients")[TWIN].disposition == "ambiguous"


def test_a_verb_can_be_meant_for_a_selection(world: World) -> None:
    def chosen(selection: Selection) -> list[int]:
        return deciding.select(world.warehouse, CLIENTS, selection)

    assert chosen(Selection(disposition="ambiguous")) == [TWIN, OTHER_TWIN]
    assert chosen(Selection(reason="near_identical_name")) == [NEAR]
    assert chosen(Selection(name="TWI", bms_ids=(TWIN, ACME))) == [TWIN]
    assert deciding.select(world.warehouse, BY_NAME["contacts"], Selection(client=BETA)) == [2]


def test_looking_leaves_a_run_that_is_under_way_alone(world: World) -> None:
    """A run for one client decides, somebody looks at all of them, the run goes on to its plan."""
    one_client = Scope(clients=(BETA,))
    world.decide(one_client)
    deciding.suggest(world.warehouse, BY_NAME["contacts"])
    deciding.select(world.warehouse, BY_NAME["contacts"], Selection(disposition="to create", client=ACME))
    assert planning.make_plan(world.warehouse, world.synced, one_client).clients == (BETA,)
    assert world.operations("contacts")[1].reason == "not_selected"


def test_nothing_named_or_nothing_found_is_told(world: World) -> None:
    with pytest.raises(DecisionError, match="No record was named"):
        deciding.select(world.warehouse, CLIENTS, Selection())
    with pytest.raises(DecisionError, match="No record is like that"):
        deciding.select(world.warehouse, CLIENTS, Selection(name="nobody is called that"))


def test_after_the_initial_sync_decisions_wait_for_a_finish_and_the_rest_goes_on(synced: World) -> None:
    synced.accounts.append(account(8, "Delta"))
    synced.contacts += [contact(8, 8, "Cleo", "Doe"), contact(9, ACME, "Dan", "Poe")]
    synced.reconcile()
    synced.create("clients", 8)
    synced.match("contacts", 3, "robert") if synced.decisions("contacts")[3].disposition == "unmatched" else None
    plan = synced.plan()
    assert plan.needs_approval == 2, "the client, and the contact inside it"
    counts = synced.load()
    assert counts["contacts"]["created"] == 1
    assert (counts["clients"]["pending"], counts["contacts"]["pending"]) == (1, 1)
    assert "Delta" not in synced.titles("client")
    synced.finish()
    assert "Delta" in synced.titles("client")
    assert synced.plan().operations == 0


def test_children_of_a_client_that_a_person_matched_wait_with_it(synced: World) -> None:
    synced.passportal_holds(clients=[in_passportal("T", "The twins")])
    synced.contacts.append(contact(8, TWIN, "Cleo", "Doe"))
    synced.reconcile()
    synced.match("clients", TWIN, "T")
    assert synced.plan().needs_approval == 2
    assert "Cleo Doe" not in synced.titles("contact")
    with pytest.raises(Exception, match="rests on people's decisions"):
        synced.load()
    synced.finish()
    assert [each.client for each in synced.content() if each.title == "Cleo Doe"] == ["The twins"]
