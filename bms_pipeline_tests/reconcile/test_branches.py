"""Several BMS accounts are one Passportal client: the first owns it, a person links the others as branches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.entities import BY_NAME
from bms_pipeline.core.errors import DecisionRefused
from bms_pipeline.core.vocabulary import Verb
from bms_pipeline.reconcile.decisions import VERSION, Decision, Selection, ViewedVersion
from bms_pipeline.reports import figures, stories
from bms_pipeline.spreadsheet.decisions import read_lines
from bms_pipeline.sync import deciding
from bms_pipeline.warehouse import sql
from bms_pipeline_tests.building import (
    Decided,
    Operation,
    World,
    account,
    contact,
    in_passportal,
    location,
    opened_world,
)

HEAD, VIENNA, GRAZ = 1, 2, 3
INSIDE = (BY_NAME["clients"], BY_NAME["locations"], BY_NAME["contacts"])


def branch(bms_id: int, passportal_id: str = "C", entity: str = "clients") -> Decision:
    """A person's decision that this account is one more of the client."""
    return Decision(Verb.BRANCH, entity, bms_id, passportal_id)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One client in Passportal, and three accounts in BMS: the head office has its name, two branches have not."""
    with opened_world(tmp_path_factory.mktemp("filled"), entities=INSIDE) as world:
        world.accounts = [
            account(HEAD, "Acme", location(10, "Main"), location(11, "Depot"), phone="1"),
            account(VIENNA, "Acme Vienna", location(20, "Main"), location(21, "Airport")),
            account(GRAZ, "Acme Graz", location(30, "Graz")),
        ]
        world.contacts = [
            contact(1, HEAD, "Ann", "Lee"),
            contact(2, VIENNA, "Bob", "Ray"),
            contact(3, GRAZ, "Cy", "Oz"),
        ]
        world.passportal_holds(
            clients=[in_passportal("C", "Acme"), in_passportal("D", "Beta")],
            contacts=[in_passportal("bob", "Bob Ray", "C")],
        )
        world.reconcile()
    return world


@pytest.fixture
def world(filled: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=filled) as world:
        yield world


def places(world: World) -> list[str]:
    """The locations inside the client."""
    return sorted(each.title for each in world.content() if each.type == "location" and each.client == "Acme")


def links_checked(world: World) -> None:
    """No account has two links, and no client two owners, planned or saved."""
    for entity, stage in itertools.product(("clients", "contacts", "locations"), ("reconciled", "loaded")):
        question = sql.read("defs/check_one_to_one").format(entity=entity, stage=stage)
        assert world.query(question) == []


def test_a_person_links_a_second_account_and_its_records_go_into_the_client(world: World) -> None:
    world.say(branch(VIENNA))
    assert world.decisions("clients")[VIENNA] == Decided("matched", "branch_by_person", "C")
    world.plan()
    assert world.operations("clients")[VIENNA].operation == "adopt"
    assert world.operations("contacts")[2].operation == "adopt", "by its name, in the client that it shares"
    world.finish()
    assert places(world) == ["Airport", "Depot"]
    assert [each.title for each in world.content() if each.marker == "2" and each.client == "Acme"] == ["Bob Ray"]
    client = next(each for each in world.content() if each.type == "client" and each.title == "Acme")
    assert client.marker == str(HEAD), "the first account stays the owner"
    assert world.plan().operations == 0
    links_checked(world)


def test_a_branch_changes_nothing_of_the_clients_own_fields(world: World) -> None:
    world.say(branch(VIENNA))
    world.cycle()
    world.accounts[1]["accountName"] = "Acme Wien"
    world.accounts[1]["locations"][0] |= {"isMain": True, "addresses": [{"phone": "555 0102 030", "isMain": True}]}
    assert "update" not in {found.operation for found in _planned(world, "clients").values()}
    world.finish()
    assert "Acme Wien" not in world.titles("client")
    assert world.plan().operations == 0
    world.accounts[0]["accountName"] = "Acme Group"
    world.cycle()
    assert "Acme Group" in world.titles("client")


def _planned(world: World, entity: str) -> dict[int, Operation]:
    world.plan()
    return world.operations(entity)


def test_locations_of_one_name_from_two_accounts_wait_for_a_person(world: World) -> None:
    world.say(branch(VIENNA))
    world.reconcile()
    for bms_id in (10, 20):
        assert world.decisions("locations")[bms_id] == Decided("ambiguous", "name_in_other_account")
    world.cycle()
    assert places(world) == ["Airport", "Depot"]
    with pytest.raises(DecisionRefused, match="another account of its client has one of its name"):
        world.create("locations", 20)
    world.create("locations", 20, allow_duplicate=True)
    world.say(Decision("exclude", "locations", 10))
    world.cycle()
    assert places(world) == ["Airport", "Depot", "Main"]
    assert world.plan().operations == 0


def test_a_location_loaded_before_the_link_is_not_created_a_second_time(world: World) -> None:
    world.cycle(None)
    world.finish_after_planning()
    assert places(world) == ["Depot", "Main"]
    world.say(branch(VIENNA))
    world.cycle()
    assert places(world) == ["Airport", "Depot", "Main"]
    assert world.decisions("locations")[20] == Decided("ambiguous", "name_in_other_account")
    assert world.decisions("locations")[10].disposition == "matched"


@pytest.mark.parametrize(
    ("decision", "why"),
    [
        (branch(VIENNA, "D"), "no account is matched to D; match this one without --branch"),
        (branch(HEAD), "it is the account that owns C; unmatch it first"),
        (branch(VIENNA, "nobody"), "Passportal has no client nobody"),
        (branch(2, "bob", "contacts"), "only a client can be linked as a branch"),
        (Decision("match", "clients", VIENNA, "C"), r"unmatch that first, or link this one too as a branch"),
    ],
)
def test_what_is_no_branch_is_refused_with_the_way_on(world: World, decision: Decision, why: str) -> None:
    before = world.lasting()
    with pytest.raises(DecisionRefused, match=why):
        world.say(decision)
    assert world.lasting() == before


def test_the_next_owner_is_named_by_a_person_alone(world: World) -> None:
    world.say(branch(VIENNA), branch(GRAZ))
    world.cycle()
    world.unmatch("clients", HEAD)
    world.plan()
    for bms_id in (VIENNA, GRAZ):
        assert world.decisions("clients")[bms_id] == Decided("unmatched", "branch_without_owner")
    assert world.decisions("contacts")[2].reason == "client_unmatched"
    world.finish()
    world.match("clients", VIENNA, "C")
    world.plan()
    assert world.decisions("clients")[GRAZ] == Decided("matched", "branch_by_person", "C")
    assert world.decisions("clients")[HEAD].disposition != "matched"
    world.finish()
    client = next(each for each in world.content() if each.type == "client" and each.marker == str(VIENNA))
    assert client.title == "Acme"
    assert len(world.titles("contact")) == 3
    assert world.plan().operations == 0
    links_checked(world)


def test_each_link_is_taken_apart_and_undone_by_itself(world: World) -> None:
    before = world.lasting()
    seen = _seen(world, VIENNA)
    taken = deciding.decide_seen(
        world.warehouse, BY_NAME["clients"], Selection(bms_ids=(VIENNA,)), deciding.BulkDecision("branch", "C"), *seen
    )
    assert taken.undo
    deciding.undo_decision(world.warehouse, taken.undo, "a person")
    assert [match for match in world.lasting()["matches"] if match[1] == VIENNA] == []
    assert world.lasting()["non_matches"] == before["non_matches"]
    world.say(branch(VIENNA), branch(GRAZ))
    world.cycle()
    world.unmatch("clients", VIENNA)
    world.plan()
    assert world.decisions("clients")[HEAD].disposition == "matched"
    assert world.decisions("clients")[GRAZ] == Decided("matched", "branch_by_person", "C")
    assert world.decisions("contacts")[2].disposition == "blocked"


def _seen(world: World, bms_id: int) -> tuple[ViewedVersion, str]:
    with world.warehouse.open() as connection:
        records, stamp = connection.execute(
            f"SELECT count(*), coalesce(bit_xor({VERSION}), 0) FROM sync.reconciled_clients r WHERE r.bms_id = ?",
            [bms_id],
        ).fetchone() or (0, 0)
        (batch,) = connection.execute("SELECT coalesce(max(batch), 0) FROM sync.decisions").fetchone() or (0,)
        return ViewedVersion(records, stamp, batch), "a person"


def test_taking_back_the_load_takes_back_the_branch_and_leaves_the_owners_marker(world: World) -> None:
    world.cycle(None)
    world.say(branch(VIENNA))
    plan = world.plan()
    world.finish()
    deciding.plan_undo(world.warehouse, plan.plan_id)
    world.finish()
    client = next(each for each in world.content() if each.type == "client" and each.title == "Acme")
    assert client.marker == str(HEAD)
    world.plan()
    assert world.decisions("clients")[VIENNA].disposition != "matched"
    assert world.decisions("clients")[HEAD].disposition == "matched"


def test_a_file_carries_a_branch(world: World, tmp_path: Path) -> None:
    file = tmp_path / "decisions.csv"
    file.write_text("entity,bms_id,decision,match_to\nclients,2,branch,C\nclients,3,branch,C\n", encoding="utf-8")
    assert [decision.verb for decision in read_lines(file).decisions] == ["branch", "branch"]
    deciding.import_file(world.warehouse, file, "a person", dry_run=False)
    assert world.decisions("clients")[GRAZ] == Decided("matched", "branch_by_person", "C")
    assert deciding.import_file(world.warehouse, file, "a person", dry_run=False).taken == 0


def test_the_story_names_the_owner_and_all_accounts(world: World) -> None:
    world.say(branch(VIENNA))
    world.cycle()
    told = stories.plain(stories.tell(world.warehouse, "clients", VIENNA).sentence)
    assert told.startswith("Linked as a branch by a person on")
    assert "account 1 Acme owns the client's own fields" in told
    found = figures.explain(world.warehouse, "contacts", 2)
    assert [(linked.bms_id, linked.is_owner) for linked in found.accounts] == [(HEAD, True), (VIENNA, False)]


def test_another_account_that_was_never_read_may_have_the_name(tmp_path: Path) -> None:
    with opened_world(tmp_path / "home") as world:
        world.accounts = [
            account(HEAD, "Acme", location(10, "Main")),
            account(VIENNA, "Acme Vienna", location(20, "Main")),
        ]
        world.passportal_holds(clients=[in_passportal("C", "Acme")], locations=[in_passportal("main", "Main", "C")])
        world.land_client(HEAD)
        world.plan_client(HEAD)
        world.match("clients", HEAD, "C")
        world.land_client(VIENNA)
        world.plan_client(VIENNA)
        world.say(branch(VIENNA))
        world.plan_client(VIENNA)
        assert world.decisions("locations")[20].disposition == "ambiguous"


ORDERS = list(itertools.permutations(("link vienna", "link graz", "sync", "unlink", "sync again")))


@pytest.mark.parametrize("order", ORDERS[::20], ids=lambda order: " ".join(order))
def test_in_whatever_order_links_and_syncs_come_nothing_is_there_twice(world: World, order: tuple[str, ...]) -> None:
    for step in order:
        match step:
            case "link vienna":
                world.say(branch(VIENNA))
            case "link graz":
                world.say(branch(GRAZ))
            case "unlink":
                if world.decisions("clients")[VIENNA].reason == "branch_by_person":
                    world.unmatch("clients", VIENNA)
            case _:
                world.cycle(None)
                assert world.plan().operations == 0
        links_checked(world)
    world.cycle(None)
    assert world.plan().operations == 0
    markers = [(each.type, each.marker) for each in world.content() if each.marker]
    assert len(markers) == len(set(markers)), "no record is in Passportal twice"
