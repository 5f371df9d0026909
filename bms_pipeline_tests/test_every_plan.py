"""Every kind of plan in every renderer: nothing fails, the counts are right, and nothing claims more than happened."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline.core.entities import CLIENTS, USERS
from bms_pipeline.core.errors import ServiceError
from bms_pipeline.defs.assets.reconcile import what_next
from bms_pipeline.defs.links import finish_launchpad
from bms_pipeline.plan import standings
from bms_pipeline.plan.standings import Standing
from bms_pipeline.reconcile import matching
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reports import figures
from bms_pipeline.reports.plan_preview import overview
from bms_pipeline.state.opening import open_state
from bms_pipeline.sync import deciding, loading, planning
from bms_pipeline.sync.state_file import read_state, write_state
from bms_pipeline.warehouse.connection import connect
from bms_pipeline_tests.building import (
    World,
    account,
    contact,
    employee,
    in_passportal,
    opened_world,
)
from bms_pipeline_tests.console.serving import Person, served
from bms_pipeline_tests.load.disturbing import Failing, Refusing
from bms_pipeline_tests.running import called

ACME, BETA, WAITING = 1, 2, 3


def fill(world: World) -> None:
    """Two clients that Passportal knows, one that waits for a person, and records of each kind inside them."""
    world.accounts = [account(ACME, "Acme"), account(BETA, "Beta"), account(WAITING, "Nobody knows")]
    world.employees = [employee(1, "Uma", "One", emailAddress="uma@msp.example"), employee(2, "Una", "Two")]
    world.contacts = [
        *(contact(n, ACME, "Person", str(n), jobTitle="a") for n in range(1, 13)),
        contact(20, BETA, "Ann", "Lee", jobTitle="Clerk"),
        contact(21, BETA, "Bob", "Ray", jobTitle="Cook"),
        contact(30, WAITING, "Waits", "For It"),
    ]
    world.passportal_holds(
        clients=[in_passportal("A", "acme"), in_passportal("B", "Beta")],
        users=[in_passportal("U", "Uma One", first_name="Uma", last_name="One")],
        # Adopting it fills what is empty, so that an undo blanks a value again.
        contacts=[in_passportal("ann", "Ann Lee", "B", mobile_phone="123")],
    )


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Read and planned, nothing loaded."""
    with opened_world(tmp_path_factory.mktemp("untouched") / "home") as world:
        fill(world)
        world.plan()
    return world


@pytest.fixture(scope="module")
def loaded(untouched: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same after the first finish."""
    with opened_world(tmp_path_factory.mktemp("loaded") / "home", like=untouched) as world:
        world.finish()
    return world


def waits_initially(world: World) -> None:
    """Nothing is to be done: the plan of the first sync waits."""


def waits_with_an_update(world: World) -> None:
    """BMS changed; the settings allow the load."""
    world.contacts[12]["jobTitle"] = "Chief"
    world.plan()


def is_loaded_whole(world: World) -> None:
    world.contacts[12]["jobTitle"] = "Chief"
    world.plan()
    world.load()


def is_empty(world: World) -> None:
    assert world.plan().operations == 0


def holds_back(world: World) -> None:
    for each in world.contacts[:12]:
        each["jobTitle"] = "b"
    world.set("update_share", 1.0)
    assert world.plan().held_back == 12


def is_for_one_client(world: World) -> None:
    for each in (world.contacts[0], world.contacts[12]):
        each["jobTitle"] = "b"
    assert world.plan(Scope(clients=(BETA,))).operations == 1


def is_for_one_entity(world: World) -> None:
    world.contacts[0]["jobTitle"] = "b"
    world.reconcile()
    assert planning.make_plan(world.warehouse, [USERS], Scope()).operations == 0


def takes_a_load_back(world: World) -> None:
    assert deciding.plan_undo(world.warehouse, 1).operations > 0


def took_a_load_back(world: World) -> None:
    takes_a_load_back(world)
    world.finish()


def is_stale(world: World) -> None:
    world.contacts[12]["jobTitle"] = "Chief"
    world.plan()
    world.exclude("contacts", 20)


def is_discarded(world: World) -> None:
    waits_with_an_update(world)
    deciding.discard_plan(world.warehouse, "", "Robin")


def rests_on_a_decision(world: World) -> None:
    world.create("clients", WAITING)
    assert planning.plan_from_stored(world.warehouse).needs_approval == 2


def is_loaded_in_part(world: World) -> None:
    plan = world.approve(planning.current_plan(world.warehouse).hash)
    loading.load(world.settings, world.warehouse, world.passportal, CLIENTS, plan)


def is_interrupted(world: World) -> None:
    world.approve(planning.current_plan(world.warehouse).hash)
    with pytest.raises(ServiceError):
        world.load(Failing(world.passportal, {("create", "contacts"): "before"}))


def is_refused(world: World) -> None:
    world.contacts.append(contact(22, BETA, "Cleo", "Doe"))
    world.plan()
    world.load(Refusing(world.passportal, "contacts", 22))


@dataclass(frozen=True)
class Kind:
    """One kind of plan: how it comes about, its state, its operations left, and whether a person has to finish it."""

    made: Callable[[World], None]
    state: str
    left: int
    waits: bool
    first: bool = False
    stands: tuple[tuple[Standing, int], ...] = ()


S = Standing
KINDS: dict[str, Kind] = {
    "initial": Kind(waits_initially, "not approved", 17, True, True, ((S.TO_MATCH, 4), (S.TO_CREATE, 13))),
    "loaded in part": Kind(is_loaded_in_part, "partly loaded", 15, True, True, ((S.IN_SYNC, 2), (S.TO_MATCH, 2))),
    "interrupted": Kind(is_interrupted, "partly loaded", 13, True, True, ((S.UNKNOWN, 13), (S.IN_SYNC, 4))),
    "refused": Kind(is_refused, "loaded", 0, False, stands=((S.REFUSED, 1), (S.IN_SYNC, 17))),
    "update": Kind(waits_with_an_update, "not approved", 1, False, stands=((S.DIFFERS, 1), (S.IN_SYNC, 16))),
    "loaded": Kind(is_loaded_whole, "loaded", 0, False, stands=((S.IN_SYNC, 17),)),
    "empty": Kind(is_empty, "nothing to load", 0, False, stands=((S.IN_SYNC, 17),)),
    "held back": Kind(holds_back, "not approved", 12, True, stands=((S.DIFFERS, 12), (S.IN_SYNC, 5))),
    "one client": Kind(is_for_one_client, "not approved", 1, False, stands=((S.DIFFERS, 2), (S.IN_SYNC, 15))),
    "one entity": Kind(is_for_one_entity, "nothing to load", 0, False, stands=((S.DIFFERS, 1), (S.IN_SYNC, 16))),
    "undo": Kind(takes_a_load_back, "not approved", 4, True, stands=((S.IN_SYNC, 17),)),
    "undo that was loaded": Kind(took_a_load_back, "loaded", 0, False, stands=((S.IN_SYNC, 0),)),
    "stale": Kind(is_stale, "stale", 1, False, stands=((S.EXCLUDED, 1), (S.IN_SYNC, 16))),
    "discarded": Kind(is_discarded, "discarded", 0, False, stands=((S.DIFFERS, 1), (S.IN_SYNC, 16))),
    "on a decision": Kind(rests_on_a_decision, "not approved", 2, True, stands=((S.TO_CREATE, 2), (S.IN_SYNC, 17))),
}
PAGES = (
    "/preview", "/", "/runs", "/preview/records", "/records/contacts/30", "/records/clients/3", "/review/contacts"
)  # fmt: skip
COMFORT = ("both sides agree", "Nothing is to be done", "There was nothing to do", "There is nothing to load")
"""Sentences that are true only where nothing is left."""


@dataclass
class Made:
    """A home whose current plan is of one kind."""

    kind: Kind
    world: World
    hash: str

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``bms-pipeline`` with these arguments in this process."""
        home = self.world.settings.bms_pipeline_home
        environment = {"BMS_PIPELINE_HOME": str(home), "PATH": os.environ["PATH"]}
        return called(*arguments, environment=environment, folder=home)

    @cached_property
    def status(self) -> dict[str, Any]:
        """What ``status --json`` says; nothing here changes it."""
        shown: dict[str, Any] = json.loads(self.call("status", "--json").stdout)
        return shown

    def check(self, text: str, about: str = "") -> None:
        """Raise ``AssertionError`` where ``text`` comforts without reason, or does not say which plan waits."""
        if self.kind.left:
            assert not [each for each in COMFORT if each in text], text
        if self.kind.waits:
            assert self.hash[:12] in text, text
        if about == "a plan" and self.kind.made is is_refused:
            assert "refused 1 of" in text, text


@pytest.fixture(scope="module", params=KINDS)
def made(
    request: pytest.FixtureRequest, untouched: World, loaded: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    """A home of the kind."""
    kind = KINDS[request.param]
    home = tmp_path_factory.mktemp("made") / "home"
    with opened_world(home, like=untouched if kind.first else loaded) as world:
        kind.made(world)
        with world.warehouse.open() as connection:
            if standings.is_taken_apart(connection):  # as the end of a run does it
                matching.reconcile_all(connection, world.synced)
        write_state(world.settings, world.warehouse)
        yield Made(kind, world, planning.current_plan(world.warehouse).hash)


def test_the_standings_are_what_the_records_say(made: Made) -> None:
    with made.world.warehouse.open() as connection:
        counted = standings.counts(connection)
    for standing, records in made.kind.stands:
        assert sum(each[standing] for each in counted.values()) == records, standing
    for entity, by_standing in counted.items():
        ((read,),) = made.world.query(f"SELECT count(*) FROM bms.{entity} WHERE missing_since IS NULL")
        assert sum(by_standing.values()) - by_standing[S.GONE] == read, "each record has exactly one"
    ((excluded,),) = made.world.query(
        "SELECT count(*) FROM sync.matches SEMI JOIN sync.exclusions USING (entity, bms_id)"
    )
    linked = sum(standings.total(each, (S.IN_SYNC, S.DIFFERS)) for each in counted.values()) + excluded
    assert linked == _carrying_a_marker(made.world), "in Passportal, which none of our tables can talk away"


def _carrying_a_marker(world: World) -> int:
    """How many records of Passportal carry a BMS id, with their client."""
    client = "EXISTS (FROM records c WHERE c.id = r.client_id AND c.marker IS NOT NULL)"
    with closing(connect(world.settings.passportal_file)) as passportal:
        (found,) = passportal.execute(
            f"SELECT count(*) FROM records r WHERE marker IS NOT NULL AND (client_id IS NULL OR {client})"
        ).fetchone() or (0,)
    return int(found)


def test_what_was_compared_before_counts_as_what_is_compared_now(made: Made) -> None:
    with made.world.warehouse.trial() as connection:
        before = standings.counts(connection)
        assert connection.execute("DELETE FROM sync.differing_as_of").fetchone() == (5,)
        assert standings.counts(connection) == before


def test_status_says_what_waits_and_its_counts_add_up(made: Made) -> None:
    shown = made.call("status")
    assert (shown.returncode, "Traceback" in shown.stderr) == (0, False)
    made.check(shown.stdout)
    status = made.status
    for counts in status["entities"].values():
        assert counts["read"] == sum(counts[each] for each in figures.COUNTS if each != "read")
    assert (status["plan"] is not None) == (made.kind.left > 0)
    if status["plan"]:
        assert (status["plan"]["hash"], status["plan"]["operations"]) == (made.hash, made.kind.left)
    assert sum(each["in sync"] for each in status["standings"].values()) == dict(made.kind.stands).get(
        S.IN_SYNC, sum(each["in sync"] for each in status["standings"].values())
    )


def test_the_last_syncs_outcome_is_that_of_a_whole_plan(made: Made) -> None:
    status = made.status
    for entity, counts in status["entities"].items():
        ((read,),) = made.world.query(f"SELECT count(*) FROM bms.{entity} WHERE missing_since IS NULL")
        assert (counts["read"], counts["out_of_scope"]) == (read, 0), "no undo, no plan of a part"


def test_the_terminal_shows_the_plan(made: Made) -> None:
    is_replaced = made.kind.state in ("stale", "discarded")  # by a new plan
    shown = made.call("preview", "--saved") if not is_replaced else made.call("status")
    assert "Traceback" not in shown.stderr
    assert "None" not in shown.stdout
    if is_replaced:
        return
    assert shown.returncode == (2 if made.kind.left else 0), shown.stderr
    assert made.kind.state in shown.stdout.replace("\n", " ")
    made.check(shown.stdout, about="a plan")


def test_the_files_and_the_json_hold_the_same_plan(made: Made, tmp_path: Path) -> None:
    shown = overview(made.world.warehouse)
    assert (shown.state, shown.left) == (made.kind.state, made.kind.left)
    planned = sum(each.records for each in shown.reasons if each.operation != "skip")
    assert planned == shown.operations
    file = tmp_path / "plan.csv"
    if made.kind.state not in ("stale", "discarded"):
        made.call("preview", "--saved", "--csv", str(file), "--html", str(tmp_path / "plan.html"), "--json")
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert len({(each["entity"], each["bms_id"]) for each in rows if each["operation"] != "skip"}) == planned
        page = (tmp_path / "plan.html").read_text(encoding="utf-8")
        assert made.kind.state in page
        made.check(page, about="a plan")


def test_dagster_shows_what_is_next(made: Made) -> None:
    plan = planning.current_plan(made.world.warehouse)
    text = what_next(plan, waits=planning.waits_for_person(made.world.warehouse), undecided=1)
    assert "both sides agree" not in text
    if made.kind.waits:
        assert finish_launchpad(made.hash) in text


def test_what_is_published_says_what_waits(made: Made) -> None:
    published = read_state(open_state(made.world.settings))
    assert published is not None
    with made.world.warehouse.open() as connection:
        assert published.waiting == standings.count_waiting(standings.counts(connection))
    assert (published.plan is not None) == (made.kind.left > 0)


def test_every_record_has_a_story_with_a_next_step(made: Made) -> None:
    rows = made.world.query(
        "SELECT 'clients', bms_id FROM bms.clients UNION ALL"
        " SELECT 'contacts', bms_id FROM bms.contacts WHERE bms_id NOT BETWEEN 3 AND 11"  # each of these is as 2 is
    )
    for entity, bms_id in rows:
        stands = figures.explain(made.world.warehouse, entity, bms_id).standing
        assert stands is not None
        assert stands.reason, (entity, bms_id)
        if stands.next_step == "finish":
            assert stands.plan_hash == made.hash
        if bms_id == 30 and entity == "contacts" and stands.standing is S.BLOCKED:
            assert (stands.waits_for and stands.waits_for.bms_id, stands.next_step) == (WAITING, "decide")
    shown = made.call("explain", "contacts", "30").stdout
    assert "Next: " in shown
    assert "None" not in shown


def test_the_pages_of_the_console_show_it(made: Made) -> None:
    made.world.let_go_of_the_warehouse()
    with served(made.world.settings) as console:
        alex = Person(console)
        shown = {}
        for address in PAGES:
            alex.get(address)
            shown[address] = alex.text
            assert alex.status == 200, (address, alex.text[:500])
            assert "Traceback" not in alex.text
    assert made.kind.state in shown["/preview"]
    made.check(shown["/preview"], about="a plan")
    made.check(shown["/"])
    assert ("no plan waits" in shown["/"]) == (not made.kind.left)


def test_where_there_is_no_plan_everything_says_so(tmp_path: Path) -> None:
    with opened_world(tmp_path / "home") as world:
        made = Made(KINDS["empty"], world, "")
        for arguments in (("preview", "--saved"), ("finish", "0123456789ab")):
            shown = made.call(*arguments)
            assert shown.returncode == 1
            assert "There is no plan yet" in shown.stderr
        assert made.call("status").returncode == 0
        assert made.call("explain", "contacts", "1").returncode == 1
        world.let_go_of_the_warehouse()
        with served(world.settings) as console:
            alex = Person(console)
            alex.get("/preview")
            assert "There is no plan yet." in alex.text
            alex.get("/")
            assert alex.status == 200
