"""Deciding in the console: what the lists show, what the buttons do, and how people do not undo each other's work."""

from __future__ import annotations

from pathlib import Path

from bms_pipeline_tests.building import World, account, opened_world
from bms_pipeline_tests.console.serving import Person, served

DECIDE = "/review/clients/decide"


def test_the_list_shows_each_record_how_it_stands_why_and_whom_it_is_matched_to(alex: Person) -> None:
    alex.get("/review/clients")
    assert "Acme Ltd 10" in alex.text
    assert "matched the same name on both sides" in alex.text
    assert "ACME LTD P1" in alex.text
    assert "ambiguous several records in Passportal fit" in alex.text
    assert "unmatched Passportal has nearly the same name" in alex.text


def test_search_filter_and_sort_are_in_the_address(alex: Person) -> None:
    alex.get("/review/clients?q=ZENITH")
    assert "Zenith Corp" in alex.text
    assert "Borealis" not in alex.text
    alex.get("/review/clients?disposition=unmatched&reason=waits_for_decision")
    assert "Borealis" in alex.text
    assert "Zenith Corp" not in alex.text
    text = alex.get("/review/clients?sort=name&way=down")
    assert text.index("Zenith Corp</bdi>") < text.index("Acme Ltd</bdi>")
    assert 'aria-sort="descending"' in text


def test_a_list_that_is_longer_than_a_page_is_paged(tmp_path: Path) -> None:
    with opened_world(tmp_path / "long") as world:
        world.accounts = [account(number, f"Client {number:03}") for number in range(1, 121)]
        world.plan()
        world.let_go_of_the_warehouse()
        with served(world.settings) as console:
            alex = Person(console)
            alex.get("/review/clients?sort=name&page=3")
            assert "Page 3 of 3" in alex.text
            assert "Client 120" in alex.text
            assert "Client 100" not in alex.text
            alex.get("/review/clients?sort=name&page=99")
            assert "Client 120" in alex.text


def test_create_exclude_and_a_reason(alex: Person, world: World) -> None:
    alex.get("/review/clients")
    alex.send(DECIDE, act="create:11")
    assert "Approved creating Borealis." in alex.text
    alex.send(DECIDE, act="exclude:12", why="theirs, not ours")
    assert world.lasting()["approved_creates"] == [("clients", 11, False)]
    assert world.lasting()["exclusions"] == [("clients", 12)]
    assert world.query("SELECT decided_by, why FROM sync.decisions WHERE verb = 'exclude'") == [
        ("Alex", "theirs, not ours")
    ]


def test_excluded_records_can_be_created_or_matched_from_their_tab(alex: Person, world: World) -> None:
    alex.get("/review/clients")
    alex.send(DECIDE, act="exclude", ticked=["11", "13"])
    alex.get("/review/clients?disposition=excluded")
    assert "Borealis" in alex.text
    alex.send(DECIDE, act="create:11")
    alex.get("/review/clients/13/match")
    alex.send(DECIDE, act="match:13:P5")
    assert world.lasting()["exclusions"] == []
    assert world.lasting()["approved_creates"] == [("clients", 11, False)]
    assert ("clients", 13, "P5") in world.lasting()["matches"]


def test_auto_match_all_and_create_unmatched(alex: Person, world: World) -> None:
    alex.get("/review/users")
    alex.send("/review/users/auto-match")
    assert world.lasting()["matches"] == [("users", 1, "U1")]
    alex.get("/review/users/create-unmatched")
    assert "Create 2 users?" in alex.text
    assert "Bo Diddley 2" in alex.text
    alex.send("/review/users/create-unmatched")
    assert world.lasting()["approved_creates"] == [("users", 2, False), ("users", 3, False)]


def test_all_that_the_filter_finds_are_decided_about_in_one(alex: Person, world: World) -> None:
    alex.get("/review/users?disposition=unmatched")
    assert "all 2 that are found" in alex.text
    alex.send("/review/users/decide", act="exclude", of="all")
    assert world.lasting()["exclusions"] == [("users", 2), ("users", 3)]


def test_the_picker_ranks_suggestions_with_their_evidence(alex: Person, world: World) -> None:
    alex.get("/review/clients/13/match")
    assert "Zenith Corporation P4" in alex.text
    assert "Name nearly the same Zenith Corp Zenith Corporation" in alex.text
    assert "very likely" in alex.text or "likely" in alex.text
    alex.send(DECIDE, act="match:13:P4")
    assert ("clients", 13, "P4") in world.lasting()["matches"]


def test_the_picker_searches_in_passportal_and_shows_what_is_taken(alex: Person, world: World) -> None:
    alex.get("/review/clients/10/match?q=acme")
    alex.send(DECIDE, act="match:10:P1")
    alex.get("/review/clients/13/match?q=somebody")
    assert "Somebody Else P5" in alex.text
    alex.get("/review/clients/13/match?q=acme")
    assert "BMS 10 Link this one too, as a branch" in alex.text


def test_a_record_beside_a_namesake_is_created_only_when_that_is_said(alex: Person, world: World) -> None:
    alex.get("/review/clients/13/match")
    alex.send(DECIDE, act="create:13")
    assert alex.status == 409
    assert "Passportal has one of nearly its name" in alex.text
    alex.get("/review/clients/13/match")
    alex.send(DECIDE, act="create:13", allow_duplicate="on")
    assert world.lasting()["approved_creates"] == [("clients", 13, True)]


def test_a_rule_is_refused_with_the_verbs_own_words_and_nothing_is_done(alex: Person, world: World) -> None:
    alex.get("/review/clients")
    alex.send(DECIDE, act="match:11:P1")
    assert alex.status == 409
    assert "P1 is matched to client 10 of BMS" in alex.text
    assert world.lasting()["matches"] == []


def test_nothing_ticked_and_no_such_verb_are_told(alex: Person, world: World) -> None:
    alex.get("/review/clients")
    alex.send(DECIDE, act="exclude")
    assert "No record was ticked." in alex.text
    alex.get("/review/clients")
    alex.send(DECIDE, act="delete:11")
    assert alex.status == 409
    assert world.query("SELECT count(*) FROM sync.decisions") == [(0,)]


def test_a_load_is_taken_back_by_a_plan_that_somebody_finishes(prepared: World, tmp_path: Path) -> None:
    with opened_world(tmp_path / "home", like=prepared) as world:
        world.finish()
        world.let_go_of_the_warehouse()
        with served(world.settings) as console:
            alex = Person(console)
            alex.get("/runs")
            alex.send("/runs/undo")
            assert "takes back plan" in alex.text
            assert "not approved" in alex.text
            assert "Nothing is changed before somebody finishes it." in alex.text
