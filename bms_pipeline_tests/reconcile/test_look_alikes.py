"""What looks alike waits for a person: names, placeholders, ids given to another company, clients merged in BMS."""

from __future__ import annotations

from pathlib import Path

import pytest

from bms_pipeline.core.entities import ASSETS, CLIENTS, CONTACTS
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reports import figures
from bms_pipeline.sync import planning
from bms_pipeline_tests.building import (
    CREATE_ALL,
    World,
    account,
    asset,
    contact,
    in_passportal,
    location,
    opened_world,
)
from bms_pipeline_tests.test_junk import DOUBTFUL_SERIALS, JUNK_SERIALS, REAL_SERIALS

TWO = (CLIENTS, CONTACTS)
SAME_TO_THE_EYE = (
    ("Smith &amp; Sons", "Smith & Sons"), ("O&#39;Brien Dental", "O'Brien Dental"),
    ("Caf&eacute; Noir", "Café Noir"),
    ("Ac\u200bme", "Acme"), ("Data\u00adcenter Nord", "Datacenter Nord"), ("Ze\u2060bra", "Zebra"),
    ("Om\ufeffega", "Omega"),
    ("Delta\u200e", "Delta"), ("Kappa L.L.C.", "Kappa LLC"), ("Bolt S.A.", "Bolt SA"), ("Corso S.r.l.", "Corso Srl"),
    ("Dene P.L.C.", "Dene PLC"), ("Eike B.V.", "Eike BV"), ("F.G.H. Works", "FGH Works"), ("Łódź Meble", "Lodz Meble"),
    ("Müller Bau", "Mueller Bau"),
    ("Yıldız", "Yildiz"), ("Рaypal", "Paypal"), ("Tele Fon", "Telefon"),
)  # fmt: skip


def finish_the_initial_sync(world: World) -> None:
    """Load all that the world holds; of some entities alone it would not count as the initial sync."""
    world.cycle()
    world.set("initial_sync_finished_at", "2026-01-01 00:00:00")


def test_nothing_is_created_next_to_a_client_that_looks_the_same(world: World) -> None:
    world.entities = (CLIENTS,)
    world.passportal_holds(clients=[in_passportal(f"C{n}", there) for n, (_, there) in enumerate(SAME_TO_THE_EYE)])
    world.accounts = [account(n + 1, here) for n, (here, _) in enumerate(SAME_TO_THE_EYE)]
    world.plan(CREATE_ALL)
    decided = {SAME_TO_THE_EYE[bms_id - 1]: found for bms_id, found in world.decisions("clients").items()}
    assert {names: found for names, found in decided.items() if found.reason != "near_identical_name"} == {}


def test_nothing_is_created_inside_clients_next_to_what_looks_the_same(world: World) -> None:
    world.passportal_holds(
        clients=[in_passportal("C1", "Alpha")],
        contacts=[in_passportal("K1", "Sean O'Brien", "C1", email="s@x.org")],
        locations=[in_passportal("L1", "Smith & Sons", "C1")],
        assets=[in_passportal("A1", "R&D-PC", "C1")],
    )
    world.accounts = [account(1, "Alpha", location(1, "Smith &amp; Sons"))]
    world.contacts = [contact(1, 1, "Sean", "O&#39;Brien", "s@x.org")]
    world.assets = [asset(1, 1, "R&amp;D-PC")]
    world.plan(Scope())
    for entity in ("contacts", "assets", "locations"):
        assert world.decisions(entity)[1] == ("unmatched", "near_identical_name", None), entity


def test_serial_numbers_match_as_far_as_they_are_real(world: World) -> None:
    world.entities = (CLIENTS, ASSETS)
    serials = [*JUNK_SERIALS, *DOUBTFUL_SERIALS, *REAL_SERIALS]
    numbers = range(1, len(serials) + 1)
    world.accounts = [account(n, f"Client {n:03}") for n in numbers]
    world.passportal_holds(
        clients=[in_passportal(f"C{n}", f"Client {n:03}") for n in numbers],
        assets=[in_passportal(f"A{n}", "FRONT-DESK", f"C{n}", serial_number=serials[n - 1]) for n in numbers],
    )
    world.assets = [asset(n, n, f"SQL-SERVER-{n}", serials[n - 1]) for n in numbers]
    world.plan(Scope())
    decided = {serials[n - 1]: found[:2] for n, found in world.decisions("assets").items()}
    assert {decided[each] for each in JUNK_SERIALS} == {("to_create", "not_in_passportal")}
    assert {decided[each] for each in DOUBTFUL_SERIALS} == {("unmatched", "doubtful_serial")}
    assert {decided[each] for each in REAL_SERIALS} == {("matched", "identical_serial")}


def test_a_person_may_match_or_create_what_shares_a_doubtful_serial_number(world: World) -> None:
    world.entities = (CLIENTS, ASSETS)
    world.accounts = [account(1, "Alpha")]
    world.passportal_holds(
        clients=[in_passportal("C1", "Alpha")],
        assets=[
            in_passportal("A1", "OLD-1", "C1", serial_number="SN-77777"),
            in_passportal("A2", "OLD-2", "C1", serial_number="SN-88888"),
        ],
    )
    world.assets = [asset(1, 1, "NEW-1", "SN-77777"), asset(2, 1, "NEW-2", "SN-88888")]
    world.plan(CREATE_ALL)
    assert world.decisions("assets")[1] == ("unmatched", "doubtful_serial", None)
    world.match("assets", 1, "A1")
    world.create("assets", 2, allow_duplicate=True)
    world.plan(Scope())
    assert world.decisions("assets")[1].passportal_id == "A1"
    assert world.decisions("assets")[2].disposition == "to_create"


def test_a_placeholder_for_a_name_matches_nobody(world: World) -> None:
    world.entities = TWO
    names = dict(enumerate(["N/A", "---", "Please Select", "Unknown User"], 1))
    world.passportal_holds(
        clients=[in_passportal("C1", "Alpha")],
        contacts=[in_passportal(f"K{n}", name, "C1") for n, name in names.items()],
    )
    world.accounts = [account(1, "Alpha"), account(2, "Beta")]
    world.contacts = [contact(n, 1, *name.partition(" ")[::2]) for n, name in names.items()]
    world.contacts += [contact(10 + n, 2, *name.partition(" ")[::2]) for n, name in names.items()]
    world.plan(CREATE_ALL)
    found = world.decisions("contacts")
    for n, name in names.items():
        assert found[n] == ("ambiguous", "placeholder_on_both_sides", None), name
        assert found[10 + n] == ("to_create", "created_by_person", None), "a person decided about it"


def test_a_placeholder_replaces_no_value_and_gives_way_to_one(world: World) -> None:
    world.entities = (*TWO, ASSETS)
    real = {"jobTitle": "Nurse", "phones": [{"id": 1, "phone": "+49 221 998877", "isDefault": True}]}
    world.accounts = [account(1, "Alpha")]
    world.contacts = [
        contact(1, 1, "Ann", "Lee", "ann@x.org", **real),
        contact(2, 1, "Bob", "Ray", "none@none.com", jobTitle="N/A"),
    ]
    world.assets = [asset(1, 1, "PC-1", "5CG12345XK")]
    finish_the_initial_sync(world)
    junk = {"jobTitle": "Please Select", "phones": [{"id": 1, "phone": "000-000-0000", "isDefault": True}]}
    world.contacts = [
        contact(1, 1, "Ann", "Lee", "noemail@noemail.com", **junk),
        contact(2, 1, "Bob", "Ray", "bob@x.org", jobTitle="Cook"),
    ]
    world.assets = [asset(1, 1, "PC-1", "Default string")]
    world.plan(Scope())
    assert world.operations("contacts")[1][:2] == ("skip", "unchanged")
    assert world.operations("assets")[1][:2] == ("skip", "unchanged")
    assert world.operations("contacts")[2].changes == {
        "email": ("none@none.com", "bob@x.org"),
        "job_title": ("N/A", "Cook"),
    }


def test_whoever_owns_a_field_a_placeholder_in_passportal_is_filled(world: World) -> None:
    world.entities = TWO
    world.accounts = [account(1, "Alpha")]
    world.passportal_holds(
        clients=[in_passportal("C1", "Alpha")],
        contacts=[in_passportal("K1", "Ann Lee", "C1", email="n/a", job_title="Head Nurse")],
    )
    world.contacts = [contact(1, 1, "Ann", "Lee", "ann@x.org", jobTitle="Unknown")]
    world.reconcile()
    for owner in ("bms_wins", "last_edit", "fill_if_empty"):
        world.set("ownership", {"contacts.email": owner, "contacts.job_title": owner})
        planning.make_plan(world.warehouse, TWO, Scope())
        assert world.operations("contacts")[1].changes["email"] == ("n/a", "ann@x.org"), owner
        assert "job_title" not in world.operations("contacts")[1].changes, owner


def test_a_shared_mailbox_makes_no_match_and_a_placeholder_mailbox_breaks_no_tie(world: World) -> None:
    world.entities = TWO
    world.accounts = [account(1, "Alpha")]
    world.passportal_holds(
        clients=[in_passportal("C1", "Alpha")],
        contacts=[
            in_passportal("K1", "Front Desk", "C1", email="office@x.org"),
            in_passportal("K2", "Ann Lee", "C1", email="ann@x.org"),
            in_passportal("K3", "Ann Lee", "C1", email="ann+it@x.org"),
            in_passportal("K4", "Cy Orr", "C1", email="none@none.com"),
            in_passportal("K5", "Cy Orr", "C1"),
        ],
    )
    world.contacts = [
        contact(1, 1, "Bob", "Ray", "OFFICE@x.org"),
        contact(2, 1, "Front", "Desk", "Office@X.org "),
        contact(3, 1, "Ann", "Lee", "ANN@x.org"),
        contact(4, 1, "Ann", "Lee", "Ann+IT@x.org"),
        contact(5, 1, "Cy", "Orr", "none@none.com"),
    ]
    world.plan()
    found = world.decisions("contacts")
    assert (found[1].disposition, [found[n].passportal_id for n in (2, 3, 4)]) == ("to_create", ["K1", "K2", "K3"])
    assert found[5][:2] == ("ambiguous", "several_in_passportal")


def test_a_contact_without_a_last_name_is_nobody_elses(world: World) -> None:
    world.entities = TWO
    world.passportal_holds(clients=[in_passportal("C1", "Alpha")], contacts=[in_passportal("K1", "Ann", "C1")])
    world.accounts = [account(1, "Alpha")]
    world.contacts = [
        contact(1, 1, "Ann", None),
        contact(2, 1, "", "Ann"),
        contact(3, 1, "Ann", "."),
        contact(4, 1, None, None, "x@y.z"),
    ]
    world.plan()
    found = {bms_id: each.disposition for bms_id, each in world.decisions("contacts").items()}
    assert found == {1: "ambiguous", 2: "ambiguous", 3: "unmatched", 4: "unmatched"}


def test_hostile_names_are_each_one_record_and_a_second_sync_plans_nothing(world: World) -> None:
    world.entities = (CLIENTS,)
    names = [
        "A" * 500,
        "B" * 20_000,
        "---",
        "...",
        "a\nb\r\nc",
        "<b>x</b>",
        "=1+1",
        "\u202eevil",
        "Trailing\u00a0",
        "{0} %s ${x}",
    ]
    names += ["'; DROP TABLE x; --", "\\", '"', "&" * 50 + ";", "." * 300 + "a"]
    world.accounts = [account(n, each) for n, each in enumerate(names, 1)]
    world.cycle()
    world.plan(CREATE_ALL)
    assert {each.operation for each in world.operations("clients").values()} == {"skip"}
    assert len(world.titles("client")) == len(names)


# Another company under the same id


@pytest.fixture(scope="module")
def two_norths(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two clients of a similar name, loaded, and the initial sync finished."""
    with opened_world(tmp_path_factory.mktemp("two"), entities=(CLIENTS,)) as world:
        world.accounts = [account(1, "Alpha North"), account(2, "Beta North")]
        finish_the_initial_sync(world)
    return world


def test_an_id_that_was_gone_and_comes_back_as_another_company_waits(world: World) -> None:
    world.entities = TWO
    world.accounts = [account(1, "Alpha Foods"), account(2, "Beta")]
    world.contacts = [contact(1, 1, "Ann", "Lee")]
    finish_the_initial_sync(world)
    world.accounts, world.contacts = [account(2, "Beta")], []
    world.cycle()
    world.accounts = [account(2, "Beta"), account(1, "Zulu Logistics")]
    world.contacts = [contact(2, 1, "Bob", "Ray")]
    world.plan(CREATE_ALL)
    assert world.decisions("clients")[1] == ("unmatched", "came_back_as_another", None)
    assert world.operations("clients")[1].operation == "skip"
    assert world.decisions("contacts")[2].disposition == "blocked"
    (linked,) = world.query("SELECT passportal_id FROM sync.matches WHERE entity = 'clients' AND bms_id = 1")
    world.match("clients", 1, linked[0])  # it is the same company after all
    world.cycle(Scope())
    assert sorted(world.titles("client")) == ["Beta", "Zulu Logistics"]
    world.plan(Scope())
    assert world.decisions("clients")[1].disposition == "matched"


def test_an_id_that_comes_back_under_its_name_or_nearly_goes_on_by_itself(world: World) -> None:
    world.entities = (CLIENTS,)
    world.accounts = [account(1, "Alpha Foods"), account(2, "Beta")]
    finish_the_initial_sync(world)
    world.accounts = [account(2, "Beta")]
    world.cycle()
    world.accounts = [account(2, "Beta"), account(1, "Alpha Foods International")]
    world.plan(Scope())
    assert world.operations("clients")[1][:2] == ("update", "bms_changed")


@pytest.mark.parametrize(
    ("renamed", "waiting"),
    [
        (["Gamma Dental", "Beta North"], {1}),  # nothing in common
        (["Beta North", "Alpha North"], {1, 2}),  # swapped, and nearly alike
        (["Beta North", "Kilo North"], {1}),  # takes the name of another
        (["Alpha North Ltd", "Beta Northern"], set()),  # renames
    ],
)
def test_a_client_that_becomes_another_one_waits_for_a_finish(
    two_norths: World, tmp_path: Path, renamed: list[str], waiting: set[int]
) -> None:
    with opened_world(tmp_path / "home", like=two_norths) as world:
        world.accounts = [account(n, name) for n, name in enumerate(renamed, 1)]
        world.plan(Scope())
        held = {row[0] for row in world.query("SELECT bms_id FROM sync.operations WHERE held_back")}
        assert held == waiting
        assert {world.operations("clients")[each].reason for each in waiting} <= {"wholly_other_name"}
        world.finish()
        assert sorted(world.titles("client")) == sorted(renamed)


def test_what_comes_from_a_client_that_is_gone_waits_with_it(world: World) -> None:
    """BMS merged account 1 into 2."""
    world.entities = (*TWO, ASSETS)
    world.accounts = [account(1, "Alpha"), account(2, "Beta"), account(3, "Gamma")]
    world.contacts = [contact(1, 1, "Ann", "Lee", "a@x.org"), contact(2, 3, "Bob", "Ray")]
    world.assets = [asset(1, 1, "PC-1", "5CG12345XK")]
    finish_the_initial_sync(world)
    world.accounts = [account(2, "Beta"), account(3, "Gamma")]
    world.contacts = [contact(1, 2, "Ann", "Lee", "a@x.org"), contact(2, 2, "Bob", "Ray")]
    world.assets = [asset(1, 2, "PC-1", "5CG12345XK")]
    world.cycle()
    assert world.decisions("contacts")[1] == ("unmatched", "client_merged", None)
    assert world.decisions("assets")[1] == ("unmatched", "client_merged", None)
    assert world.decisions("contacts")[2].reason == "moved_to_this_client", "its former client is still there"
    held = [(each.client, each.title) for each in world.content() if each.type == "contact" and each.marker == "1"]
    assert held == [("Alpha", "Ann Lee")]
    told = [each for each in figures.status(world.settings, world.warehouse).warnings if "merged" in each]
    assert len(told) == 1, "one thing to review"
    assert all(each in told[0] for each in ("1 Alpha", "2 Beta", "1 assets, 1 contacts"))
    world.create("contacts", 1)
    world.cycle(Scope())
    assert ("Beta", "Ann Lee") in [(each.client, each.title) for each in world.content()]


def test_a_company_that_was_entered_again_in_bms_waits_next_to_its_former_self(world: World) -> None:
    world.entities = (CLIENTS,)
    world.accounts = [account(1, "Alpha"), account(2, "Beta")]
    finish_the_initial_sync(world)
    world.set("auto_create", {"clients": True, "users": False, "locations": True, "contacts": True, "assets": True})
    world.accounts = [account(3, "ALPHA Ltd"), account(2, "Beta")]
    world.plan(CREATE_ALL)
    assert world.decisions("clients")[3] == ("unmatched", "name_of_gone_record", None)
