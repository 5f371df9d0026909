"""The plan's pages: what they call things, the last question before Finish, and a plan that is discarded or stale."""

from __future__ import annotations

import re

import pytest

from bms_pipeline.console.context import Console
from bms_pipeline.sync import deciding, planning
from bms_pipeline_tests.building import World
from bms_pipeline_tests.console.serving import Person


def current_hash(world: World) -> str:
    return planning.current_plan(world.warehouse).hash


def opened(world: World) -> str:
    """The current plan's hash; nobody holds the warehouse afterwards."""
    found = current_hash(world)
    world.let_go_of_the_warehouse()
    return found


def test_finish_asks_once_more_with_the_figures_the_warnings_and_who_finishes(
    world: World, console: Console, alex: Person
) -> None:
    plan_hash = opened(world)
    page = alex.get("/preview")
    assert f'href="/preview/finish?hash={plan_hash}"' in page
    alex.get(f"/preview/finish?hash={plan_hash}")
    assert "You finish as Alex" in alex.text
    assert re.search(r"clients ?·? 1", alex.text)
    assert "still need a decision and stay out of this load" in alex.text
    assert "The first Finish ends the initial sync." in alex.text
    assert alex.form("/preview/finish")["hash"] == [plan_hash]


@pytest.mark.parametrize("query", ["", "?hash=", "?hash=" + "0" * 32])
def test_no_other_plan_is_asked_about(alex: Person, query: str) -> None:
    alex.get(f"/preview/finish{query}")
    assert "That plan cannot be finished; this is the current one." in alex.text
    assert alex.page is not None
    assert alex.page.url.endswith("/preview")


def test_look_alikes_that_are_created_are_named_before_the_finish(world: World, console: Console, alex: Person) -> None:
    world.create("clients", 13, allow_duplicate=True)
    world.plan()
    plan_hash = opened(world)
    alex.get(f"/preview/finish?hash={plan_hash}")
    assert "Look-alikes: 1 client is created although Passportal has the same or nearly the same name" in alex.text


def test_a_stale_plan_says_what_changed_and_cannot_be_finished_from_the_page(
    world: World, console: Console, alex: Person
) -> None:
    plan_hash = opened(world)
    alex.get(f"/preview/finish?hash={plan_hash}")
    form = alex.form("/preview/finish")
    blake = Person(console, "Blake")
    blake.get("/review/clients")
    blake.send("/review/clients/decide", act="exclude:11")
    alex.session.post(f"{alex.origin}/preview/finish", data=form, headers={"Origin": alex.origin}, timeout=60)
    page = alex.get("/preview")
    assert "Since this plan was made, decisions changed." in alex.text
    assert "Blake : exclude Borealis" in alex.text
    assert "/preview/finish" not in page
    assert '<button class="main">Re-plan</button>' in page
    alex.send("/preview/discard")
    assert not console.runs.current(), "nothing was started"


def test_the_refusal_of_a_stale_plan_is_a_page_of_its_own_that_a_reload_shows_again(
    world: World, console: Console, alex: Person
) -> None:
    plan_hash = opened(world)
    alex.get(f"/preview/finish?hash={plan_hash}")
    form = alex.form("/preview/finish")
    blake = Person(console, "Blake")
    blake.get("/setup")
    blake.send("/setup/toggles", **{"sync.contacts": None})
    alex.page = alex.session.post(
        f"{alex.origin}/preview/finish", data=form, headers={"Origin": alex.origin}, timeout=60
    )
    assert (alex.status, alex.page.request.method) == (409, "GET")
    assert "The plan has changed" in alex.text
    assert "settings changed" in alex.text
    address = alex.page.url
    alex.get(address)
    assert "The plan has changed" in alex.text
    for nowhere in ("/failed/999", f"/review/clients/{2**63}/match", "/records/clients/0", f"/records/clients/{2**70}",
                    "/preview/records?client=zzz"):  # fmt: skip
        alex.get(nowhere)
        assert (alex.status, "No such page" in alex.text) == (404, True), nowhere


def test_a_plan_is_discarded_from_its_page_and_says_by_whom(world: World, console: Console, alex: Person) -> None:
    opened(world)
    alex.get("/preview")
    alex.send("/preview/discard")
    assert "is discarded." in alex.text
    assert "Alex discarded this plan" in alex.text
    alex.send("/preview/make", **{"from": None})
    assert planning.current_plan(world.warehouse).discarded is False or console.runs.current()


def test_an_older_page_cannot_discard_or_finish_a_newer_plan(world: World, console: Console, alex: Person) -> None:
    opened(world)
    alex.get("/preview")
    forms = {action: alex.form(action) for action in ("/preview/discard",)}
    world.exclude("clients", 10)
    world.plan()
    world.let_go_of_the_warehouse()
    alex.get("/")
    for action, form in forms.items():
        alex.page = alex.session.post(alex.origin + action, data=form, headers={"Origin": alex.origin}, timeout=60)
        assert alex.status == 409
        assert "is not the current plan any more" in alex.text
    assert not planning.current_plan(world.warehouse).discarded


def test_an_undo_is_shown_as_what_it_does_and_planned_again_as_an_undo(
    world: World, console: Console, alex: Person
) -> None:
    world.finish()
    deciding.plan_undo(world.warehouse, planning.current_plan(world.warehouse).plan_id)
    world.let_go_of_the_warehouse()
    page = alex.get("/preview")
    assert "You asked for this plan." in alex.text
    assert 'class="alert"' not in page
    alex.get("/preview/records")
    assert "Match taken apart, marker removed." in alex.text
    assert "No field changes" not in alex.text
    alex.get("/preview")
    alex.send("/preview/make")
    assert "takes back plan" in alex.text
    assert planning.current_plan(world.warehouse).undoes is not None


def test_counts_have_the_vendors_or_plain_words_and_each_says_what_it_means(alex: Person) -> None:
    alex.get("/preview")
    for words in ("Sync Preview", "kept in Passportal", "left out by settings", "Re-plan", "What these words mean"):
        assert words in alex.text
    for word in ("conflicts", "anew", "out of scope"):
        assert word not in alex.text
    assert '<a href="/clients/10">' in alex.get("/preview")
    alex.get("/preview/records?client=10&what=to+create")
    assert "Acme Ltd" in alex.text
    alex.get("/preview/records?what=to+match")
    assert "Linked with a record that Passportal has" in alex.text
