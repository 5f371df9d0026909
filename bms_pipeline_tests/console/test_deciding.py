"""Deciding where you read: candidates in the row, undo, accepting many, twins, blocked records, facets; no scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.console.context import Console
from bms_pipeline.reconcile.decisions import Decision
from bms_pipeline.sync import deciding
from bms_pipeline_tests.building import World, account, asset, contact, employee, in_passportal, opened_world
from bms_pipeline_tests.console.serving import Person, served

DECIDE, UNDO = "/review/clients/decide", "/review/clients/undo"
STATE = ("matches", "exclusions", "approved_creates", "non_matches")


def lasting(world: World) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the lasting tables about decisions."""
    with world.warehouse.open() as connection:
        return {table: connection.execute(f"FROM sync.{table} ORDER BY ALL").fetchall() for table in STATE}


def row_of(person: Person, bms_id: int) -> str:
    """The row of one record, as HTML without its tags."""
    assert person.page is not None
    found = re.search(rf'<tr data-item="{bms_id}".*?</tr>', person.page.text, re.DOTALL)
    assert found, f"no row for {bms_id}"
    return " ".join(re.sub(r"<[^>]*>", " ", found.group()).split())


# -- candidates --------------------------------------------------------------------------------------------------------


def test_the_best_candidate_stands_in_the_row_with_what_agrees_and_one_button_matches_it(
    alex: Person, world: World
) -> None:
    alex.get("/review/clients")
    row = row_of(alex, 13)
    assert "Zenith Corporation P4" in row
    assert "nearly the same name" in row
    assert "Match Zenith Corp with Zenith Corporation P4" in row
    alex.send(DECIDE, act="match:13:P4")
    assert "Matched Zenith Corp with Zenith Corporation (P4)." in alex.text
    assert ("clients", 13, "P4") in world.lasting()["matches"]


def test_where_two_candidates_fit_equally_the_row_says_so_and_offers_no_blind_match(alex: Person) -> None:
    alex.get("/review/clients")
    row = row_of(alex, 12)
    assert "2 records of Passportal fit about equally" in row
    assert "Compare…" in row
    assert '<button name="act" value="match:12' not in alex.page.text  # type: ignore[union-attr]


def test_a_candidate_that_fits_another_waiting_record_as_well_is_not_offered_blindly(tmp_path: Path) -> None:
    with opened_world(tmp_path / "shared") as world:
        world.accounts = [account(1, "Havel Ceramics Inc"), account(2, "Havel Ceramics Ltd")]
        world.passportal_holds(clients=[in_passportal("P1", "Havel Ceramics")])
        world.plan()
        world.let_go_of_the_warehouse()
        with served(world.settings) as console:
            alex = Person(console)
            alex.get("/review/clients")
            assert "It fits client 2 of BMS about as well" in row_of(alex, 1)
            assert "It fits client 1 of BMS about as well" in row_of(alex, 2)
            alex.get("/review/clients/accept")
            assert "No record has one candidate alone" in alex.text


def test_a_pair_that_a_person_took_apart_is_not_offered_blindly(alex: Person, world: World) -> None:
    alex.get("/review/clients")
    alex.send(DECIDE, act="match:13:P4")
    alex.get("/review/clients?disposition=matched")
    alex.send(DECIDE, act="unmatch:13")
    alex.get("/review/clients")
    assert "A person took these two apart" in row_of(alex, 13)
    assert '<button name="act" value="match:13' not in alex.page.text  # type: ignore[union-attr]


def test_a_client_that_another_account_has_is_offered_as_a_branch(alex: Person, world: World) -> None:
    alex.get("/review/clients/11/match?q=acme")
    assert "Link this one too, as a branch" in alex.text
    alex.send(DECIDE, act="branch:11:P1")
    assert "Linked Borealis as a branch of ACME LTD (P1)." in alex.text
    assert ("clients", 11, "P1") in world.lasting()["matches"]
    alex.get("/clients/11")
    assert "Acme Ltd (owner), Borealis (branch)." in " ".join(alex.text.split())
    alex.get("/records/clients/10")
    assert "Accounts of its Passportal client" in alex.text


# -- undo --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "act"),
    [
        ([], "match:13:P4"),
        ([], "create:11"),
        ([], "create:13:allow_duplicate"),
        ([], "exclude:11"),
        ([], "exclude:10"),
        (["exclude:11"], "include:11"),
        (["exclude:11"], "create:11"),
        (["exclude:13"], "match:13:P4"),
        (["match:13:P4"], "unmatch:13"),
        (["create:11"], "exclude:11"),
        ([], "unmatch:10"),
        ([], "branch:11:P1"),
        (["branch:11:P1"], "unmatch:11"),
    ],
)
def test_undo_puts_back_exactly_what_was_decided_before(alex: Person, world: World, first: list[str], act: str) -> None:
    for decision in first:
        alex.get("/review/clients")
        alex.send(DECIDE, act=decision)
    before, stood = lasting(world), world.decisions("clients")
    alex.get("/review/clients")
    alex.send(DECIDE, act=act)
    assert lasting(world) != before
    alex.send(UNDO)
    assert "Undone: " in alex.text
    assert lasting(world) == before
    assert world.decisions("clients") == stood
    assert world.query("SELECT verb, decided_by FROM sync.decisions ORDER BY batch DESC LIMIT 1") == [("undo", "Alex")]


def test_undo_of_a_match_that_was_loaded_and_taken_apart_keeps_the_values_it_was_compared_with(
    prepared: World, tmp_path: Path
) -> None:
    with opened_world(tmp_path / "home", like=prepared) as world:
        world.finish()
        world.let_go_of_the_warehouse()
        base = world.query("FROM sync.base_clients WHERE bms_id = 10")
        with served(world.settings) as console:
            alex = Person(console)
            alex.get("/review/clients")
            alex.send(DECIDE, act="unmatch:10")
            assert world.query("FROM sync.base_clients WHERE bms_id = 10") == []
            alex.send(UNDO)
        assert world.query("FROM sync.base_clients WHERE bms_id = 10") == base != []


def test_undo_goes_back_decision_by_decision(alex: Person, world: World) -> None:
    for act in ("exclude:11", "exclude:13"):
        alex.get("/review/clients")
        alex.send(DECIDE, act=act)
    alex.send(UNDO)
    assert world.lasting()["exclusions"] == [("clients", 11)]
    assert "Before that: Excluded Borealis." in alex.text
    alex.send(UNDO)
    assert world.lasting()["exclusions"] == []


def test_undo_is_refused_where_somebody_decided_since_also_if_all_looks_as_before(
    console: Console, alex: Person, world: World
) -> None:
    alex.get("/review/clients")
    alex.send(DECIDE, act="exclude:11")
    for verb in ("include", "exclude"):
        deciding.decide(world.warehouse, [Decision(verb, "clients", 11)], "Casey")
    alex.send(UNDO)
    assert alex.status == 409
    assert "exclude by Casey" in alex.text
    assert world.lasting()["exclusions"] == [("clients", 11)]


def test_undo_is_refused_after_a_load_of_the_decision(prepared: World, tmp_path: Path) -> None:
    with opened_world(tmp_path / "home", like=prepared) as world:
        world.let_go_of_the_warehouse()
        with served(world.settings) as console:
            alex = Person(console)
            alex.get("/review/clients")
            alex.send(DECIDE, act="match:13:P4")
            world.finish_after_planning()
            alex.send(UNDO)
            assert alex.status == 409
        assert ("clients", 13, "P4") in world.lasting()["matches"]


def test_undo_of_an_unmatch_is_refused_where_its_partner_has_another_match_now(alex: Person, world: World) -> None:
    for act in ("match:13:P4", "unmatch:13"):
        alex.get("/review/clients")
        alex.send(DECIDE, act=act)
    deciding.decide(world.warehouse, [Decision("match", "clients", 11, "P4")], "Casey")
    alex.send(UNDO)
    assert alex.status == 409
    assert "P4 is matched to client 11 now" in alex.text
    assert ("clients", 13, "P4") not in world.lasting()["matches"]
    assert ("clients", 11, "P4") in world.lasting()["matches"]


def test_nobody_undoes_what_another_browser_decided(console: Console, alex: Person, world: World) -> None:
    alex.get("/review/clients")
    alex.send(DECIDE, act="exclude:11")
    form = alex.form(UNDO)
    blake = Person(console, "Blake")
    blake.get("/review/clients")
    blake.send(DECIDE, act="exclude:13")
    blake.send(UNDO, batch=form["batch"], record=form["record"])
    assert blake.status == 409
    assert world.lasting()["exclusions"] == [("clients", 11), ("clients", 13)]


def test_an_undone_decision_is_undone_in_the_second_copy_as_well(alex: Person, world: World) -> None:
    alex.get("/review/clients")
    alex.send(DECIDE, act="exclude:11")
    alex.send(UNDO)
    log = (world.settings.bms_pipeline_home / "decisions.log").read_text(encoding="utf-8").splitlines()
    assert '"verb":"undo"' in log[-1].replace(" ", "")
    assert '"exclusions":[]' in log[-1].replace(" ", "")


# -- several decisions in one form -------------------------------------------------------------------------------------


def test_several_decisions_sent_together_are_each_told_and_undone_by_itself(alex: Person, world: World) -> None:
    alex.get("/review/clients")
    alex.send(DECIDE, act=["exclude:11", "match:13:P4"], stay="1")
    assert "Excluded Borealis." in alex.text
    assert "Matched Zenith Corp with Zenith Corporation (P4)." in alex.text
    alex.send(UNDO)  # the first form of the page: that of Borealis
    assert world.lasting()["exclusions"] == []
    assert ("clients", 13, "P4") in world.lasting()["matches"]


def test_of_several_decisions_one_that_is_overtaken_is_left_and_the_others_are_taken(
    alex: Person, world: World
) -> None:
    alex.get("/review/clients")
    deciding.decide(world.warehouse, [Decision("exclude", "clients", 11)], "Casey")
    alex.send(DECIDE, act=["create:11", "match:13:P4"], stay="1")
    assert alex.status == 200
    assert "Borealis was left as it is." in alex.text
    assert "exclude by Casey" in alex.text
    assert world.lasting()["approved_creates"] == []
    assert ("clients", 13, "P4") in world.lasting()["matches"]


# -- accept all --------------------------------------------------------------------------------------------------------


@pytest.fixture
def near(tmp_path: Path) -> Iterator[World]:
    """Clients with one near-identical namesake each: one whose phone differs, and one with two that fit."""
    with opened_world(tmp_path / "near") as world:
        world.accounts = [
            *(
                account(n, f"{name} Inc")
                for n, name in enumerate(("Havel Ceramics", "Bernier Energy", "Canals Timber"))
            ),
            account(7, "Doubtful Foods Inc"),
        ]
        world.passportal_holds(
            clients=[
                *(in_passportal(f"P{n}", f"{name}, Inc.") for n, name in
                  enumerate(("Havel Ceramics", "Bernier Energy", "Canals Timber"))),
                in_passportal("P7", "Doubtful Foods, Inc."),
                in_passportal("P8", "Doubtful Foods Inc."),
            ]
        )  # fmt: skip
        world.plan()
        world.let_go_of_the_warehouse()
        yield world


def test_accept_all_shows_what_it_would_match_and_matches_only_that(near: World) -> None:
    with served(near.settings) as console:
        alex = Person(console)
        alex.get("/review/clients")
        assert "Accept all 3 where nothing contradicts" in alex.text
        alex.get("/review/clients/accept")
        assert "Doubtful" not in alex.text
        assert "Match 3 clients at once?" in alex.text
        shown = re.findall(r'value="(\d+:P\d)"', alex.page.text)  # type: ignore[union-attr]
        alex.send("/review/clients/accept", pair=[pair for pair in shown if pair != "2:P2"])
        assert "Matched 2 clients" in alex.text
        assert [row[1:] for row in near.lasting()["matches"]] == [(0, "P0"), (1, "P1")]
        alex.send(UNDO)
        assert near.lasting()["matches"] == []


def test_accept_all_is_refused_where_a_record_changed_since_the_list_was_shown(near: World) -> None:
    with served(near.settings) as console:
        alex = Person(console)
        alex.get("/review/clients/accept")
        deciding.decide(near.warehouse, [Decision("exclude", "clients", 1)], "Casey")
        alex.send("/review/clients/accept", pair=["0:P0", "1:P1"])
        assert alex.status == 409
        assert "exclude by Casey" in alex.text
        assert near.lasting()["matches"] == []


def test_accept_all_is_refused_for_a_pair_that_is_not_the_only_candidate(near: World) -> None:
    with served(near.settings) as console:
        alex = Person(console)
        alex.get("/review/clients/accept")
        form = alex.form("/review/clients/accept")
        alex.get("/review/clients")
        stamp = alex.form(DECIDE)["stamp.7"]
        alex.get("/review/clients/accept")
        alex.send("/review/clients/accept", pair=["0:P0", "7:P7"], **{"stamp.7": stamp, "batch": form["batch"]})
        assert alex.status == 409
        assert "another candidate fits now" in alex.text
        assert near.lasting()["matches"] == []


# -- twins -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[World]:
    """Two clients of one name in BMS, one of them in Passportal, and what lies inside each."""
    with opened_world(tmp_path / "twins") as world:
        world.accounts = [account(107, "Salinas"), account(108, "Salinas"), account(109, "Alone")]
        world.contacts = [contact(1, 107, "A", "B"), contact(2, 107, "C", "D"), contact(3, 108, "E", "F")]
        world.assets = [asset(1, 108, "printer")]
        world.passportal_holds(clients=[in_passportal("P1", "Salinas")])
        world.plan()
        world.let_go_of_the_warehouse()
        yield world


@pytest.mark.parametrize(
    ("act", "matches", "creates", "exclusions"),
    [
        ("107:exclude:P1", [("clients", 107, "P1")], [], [("clients", 108)]),
        ("108:create:P1", [("clients", 108, "P1")], [("clients", 107, True)], []),
        ("107:create:", [], [("clients", 107, True), ("clients", 108, True)], []),
    ],
)
def test_twins_stand_side_by_side_and_are_decided_about_in_one(
    twins: World, act: str, matches: list[object], creates: list[object], exclusions: list[object]
) -> None:
    with served(twins.settings) as console:
        alex = Person(console)
        alex.get("/review/clients/twins")
        assert "BMS 107 BMS 108 Passportal P1" in alex.text
        assert "Contacts inside 2 1 0" in alex.text
        assert "Assets inside 0 1 0" in alex.text
        assert "Alone" not in alex.text
        alex.send("/review/clients/twins", act=act)
        assert alex.status == 200
        assert twins.lasting()["matches"] == matches
        assert twins.lasting()["approved_creates"] == creates
        assert twins.lasting()["exclusions"] == exclusions
        alex.send(UNDO)
        assert not any(twins.lasting()[table] for table in ("matches", "approved_creates", "exclusions"))


def test_every_choice_that_the_page_of_twins_offers_is_taken(twins: World, tmp_path: Path) -> None:
    with served(twins.settings) as console:
        alex = Person(console)
        offered = re.findall(r'value="(\d+:\w+:\w*)"', alex.get("/review/clients/twins"))
        assert len(offered) == 5
        for act in offered:
            alex.get("/review/clients/twins")
            alex.send("/review/clients/twins", act=act)
            assert alex.status == 200, act
            alex.send(UNDO)
            assert alex.status == 200, act


def test_a_group_is_decided_as_it_was_seen(twins: World) -> None:
    with served(twins.settings) as console:
        alex = Person(console)
        alex.get("/review/clients/twins")
        deciding.decide(twins.warehouse, [Decision("exclude", "clients", 108)], "Casey")
        alex.send("/review/clients/twins", act="107:create:P1")
        assert alex.status == 409
        assert "exclude by Casey" in alex.text
        assert twins.lasting()["matches"] == []


# -- blocked -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def blocked(tmp_path: Path) -> Iterator[World]:
    """Assets of a client that nobody decided about, of an excluded one, and of one left out."""
    with opened_world(tmp_path / "blocked") as world:
        world.accounts = [account(1, "Havel Ceramics Inc"), account(2, "Excluded"), account(3, "Idle", isActive=False)]
        world.assets = [asset(n, 1, f"host {n}") for n in range(10, 13)] + [asset(20, 2, "host"), asset(30, 3, "idle")]
        world.plan()
        world.exclude("clients", 2)
        world.plan()
        world.let_go_of_the_warehouse()
        yield world


def test_blocked_records_are_shown_by_the_client_they_wait_for(blocked: World) -> None:
    with served(blocked.settings) as console:
        alex = Person(console)
        alex.get("/review/assets?disposition=blocked")
        assert "4 assets wait for 2 clients" in alex.text
        assert "3 assets wait for Havel Ceramics Inc : decide about it" in alex.text
        assert "1 asset waits for Excluded : include it again" in alex.text
        assert "/review/clients?record=1" in alex.page.text  # type: ignore[union-attr]
        alex.get("/review/clients?record=1")
        assert "What waits for it: 3 assets" in row_of(alex, 1)
        assert "Excluded 2" not in alex.text
        alex.send(DECIDE, act="create:1")
        alex.get("/review/assets?disposition=blocked")
        assert "Havel Ceramics Inc : decided; they follow with the next preview" in alex.text


def test_the_page_of_a_blocked_record_names_its_client_and_offers_nothing_else(blocked: World) -> None:
    with served(blocked.settings) as console:
        alex = Person(console)
        text = alex.get("/review/assets/10/match")
        assert "Decide about its client: Havel Ceramics Inc" in alex.text
        assert 'name="act"' not in text


def test_no_page_offers_a_decision_that_is_refused(blocked: World, tmp_path: Path) -> None:
    """Press every button of every row and of every record's page, each in a home as it was."""
    world = blocked
    world.accounts += [
        account(4, "Twins"),
        account(5, "Twins"),
        account(6, ""),
        account(7, "Near Ltd"),
        account(8, "Same"),
    ]
    world.passportal_holds(
        clients=[in_passportal("P4", "Twins"), in_passportal("P7", "Near Limited"), in_passportal("P8", "Same")]
    )
    world.assets += [asset(40, 8, "new one"), asset(41, 7, "waits")]
    world.employees = [employee(1, "Ada", "Lovelace"), employee(2, "", "")]
    world.plan()
    with served(world.settings) as console:
        alex = Person(console)
        pages = [f"/review/{name}" for name in ("users", "clients", "assets")]
        for name in ("users", "clients", "assets"):
            ids = console.rows(f"SELECT bms_id FROM sync.reconciled_{name} ORDER BY bms_id")
            pages += [f"/review/{name}/{row['bms_id']}/match" for row in ids]
        tried = 0
        for page in pages:
            decide = f"/review/{page.split('/')[2]}"
            acts = re.findall(r'(?:name="act"\s+value|data-act)="(\w+:[^"]+)"', alex.get(page))
            for act in dict.fromkeys(acts):
                alex.get(page)
                more = {"allow_duplicate": "on"} if 'name="allow_duplicate"' in alex.page.text else {}  # type: ignore[union-attr]
                alex.send(f"{decide}/decide", act=act, **more)
                assert alex.status == 200, f"{page}: {act}: {alex.text[-300:]}"
                alex.get(decide)
                alex.send(f"{decide}/undo")
                assert alex.status == 200, f"undo of {page}: {act}: {alex.text[-300:]}"
                tried += 1
        assert tried > 20


# -- facets, search and many -------------------------------------------------------------------------------------------


def test_a_search_looks_in_all_states_and_the_tabs_count_what_it_finds(alex: Person) -> None:
    alex.get("/review/clients?disposition=unmatched")
    page = alex.page.text  # type: ignore[union-attr]
    search = re.search(r'<form method="get".*?</form>', page, re.DOTALL)
    assert search is not None
    assert 'name="disposition"' not in search.group()
    alex.get("/review/clients?q=o")
    assert "All 2" in alex.text
    assert "Unmatched 2" in alex.text
    assert "Ambiguous" not in alex.text
    assert "fits nothing in Passportal; waits for a person: match, create or exclude 1" in alex.text


@pytest.fixture
def many(tmp_path: Path) -> Iterator[World]:
    """More users than two pages hold."""
    with opened_world(tmp_path / "many") as world:
        world.employees = [employee(n, f"First{n:03}", "Last") for n in range(1, 121)]
        world.plan()
        world.let_go_of_the_warehouse()
        yield world


def test_all_that_is_found_but_those_unticked_on_any_page(many: World) -> None:
    """First page: untick two. Third page: untick one, and then decide."""
    address = "/review/users?disposition=unmatched&all=1&sort=name"
    with served(many.settings) as console:
        alex = Person(console)
        alex.get(address)
        ticked = [n for n in alex.form("/review/users/decide")["ticked"] if n not in ("3", "4")]
        alex.send("/review/users/decide", act="page:2", ticked=ticked)
        alex.send("/review/users/decide", act="page:3")
        assert "All 120 found but those unticked (2 so far)" in alex.text
        ticked = [n for n in alex.form("/review/users/decide")["ticked"] if n != "120"]
        alex.send("/review/users/decide", act="exclude", ticked=ticked, why="not ours")
        assert "Exclude 117 users?" in alex.text
        assert "3 unticked records are left as they are." in alex.text
        assert "First001 Last" in alex.text
        assert many.lasting()["exclusions"] == []
        alex.send("/review/users/decide", act="exclude")
        excluded = {row[1] for row in many.lasting()["exclusions"]}
        assert excluded == set(range(1, 121)) - {3, 4, 120}
        assert "Excluded 117 users: First001 Last" in alex.text
        assert many.query("SELECT DISTINCT why FROM sync.decisions") == [("not ours",)]
        alex.send("/review/users/undo")
        assert many.lasting()["exclusions"] == []


def test_a_tick_put_back_counts_again(many: World) -> None:
    with served(many.settings) as console:
        alex = Person(console)
        alex.get("/review/users?disposition=unmatched&all=1&sort=name&but=1,2")
        ticked = [*alex.form("/review/users/decide")["ticked"], "1"]
        alex.send("/review/users/decide", act="page:1", ticked=ticked)
        assert alex.form("/review/users/decide")["but"] == ["2"]


def test_a_decision_about_more_than_the_page_is_asked_once_and_refused_if_overtaken(many: World) -> None:
    with served(many.settings) as console:
        alex = Person(console)
        alex.get("/review/users?disposition=unmatched")
        alex.send("/review/users/decide", act="exclude", of="all")
        assert "Exclude 120 users?" in alex.text
        deciding.decide(many.warehouse, [Decision("create", "users", 5)], "Casey")
        alex.send("/review/users/decide", act="exclude")
        assert alex.status == 409
        assert "create by Casey" in alex.text
        assert many.lasting()["exclusions"] == []


def test_create_unmatched_asks_once_and_is_refused_if_overtaken(many: World) -> None:
    with served(many.settings) as console:
        alex = Person(console)
        alex.get("/review/users")
        assert "Create Unmatched (120)…" in alex.text
        alex.get("/review/users/create-unmatched")
        assert "Create 120 users?" in alex.text
        deciding.decide(many.warehouse, [Decision("exclude", "users", 5)], "Casey")
        alex.send("/review/users/create-unmatched")
        assert alex.status == 409
        assert many.lasting()["approved_creates"] == []
        alex.get("/review/users/create-unmatched")
        alex.send("/review/users/create-unmatched")
        assert len(many.lasting()["approved_creates"]) == 119
