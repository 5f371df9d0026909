"""The pages *Refused* and *Inactive in BMS*: lists that a person looks through, and the button that sends again."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from bms_pipeline.console.context import Console
from bms_pipeline.core.entities import CLIENTS, CONTACTS
from bms_pipeline_tests.building import World, account, contact, in_passportal, opened_world
from bms_pipeline_tests.chromium import Keyboard, Mouse, chromium
from bms_pipeline_tests.console.serving import Person, served
from bms_pipeline_tests.console.test_pages_in_the_browser import TOO_WIDE, WAYS, entered, offends
from bms_pipeline_tests.load.test_refused_values import WORDS, Choosy

PICTURES = os.environ.get("PICTURES_OF_LISTS")
"""A folder for pictures, for whoever looks at them."""


def people(*names: str, title: str = "boss") -> list[dict[str, object]]:
    return [contact(n, 1, name, "Lee", jobTitle=title) for n, name in enumerate(names, start=1)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three contacts are loaded; Passportal refuses a title of two of them, and the third is inactive by now."""
    with opened_world(tmp_path_factory.mktemp("loaded"), entities=(CLIENTS, CONTACTS)) as world:
        world.accounts = [account(1, "Acme <b>&</b> Co")]
        world.contacts = people("Ann", "Bob", "=Cleo", title="a")
        world.passportal_holds(clients=[in_passportal("C1", "Acme <b>&</b> Co")])
        world.cycle()
        world.contacts = people("Ann", "Bob", "=Cleo")
        world.contacts[2]["isActive"] = False
        choosy = Choosy(world, "boss")
        world.cycle(target=choosy)
        world.plan(target=choosy)
    return world


@pytest.fixture
def world(loaded: World, tmp_path: Path) -> Iterator[World]:
    with opened_world(tmp_path / "home", like=loaded, entities=(CLIENTS, CONTACTS)) as world:
        world.let_go_of_the_warehouse()
        yield world


@pytest.fixture
def console(world: World) -> Iterator[Console]:
    with served(world.settings) as found:
        yield found


@pytest.fixture
def alex(console: Console) -> Person:
    return Person(console, "Alex")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def planned(world: World) -> int:
    return world.plan(target=Choosy(world, "nobody")).operations


def test_the_overview_and_the_preview_lead_to_what_is_refused_and_its_words_stand_there(alex: Person) -> None:
    for address in ("/", "/preview", "/preview/records?entity=contacts&what=refused"):
        assert 'href="/refused"' in alex.get(address)
    alex.get("/refused")
    assert alex.text.count(WORDS) == 2
    assert "Acme <b>&</b> Co" in alex.text
    assert 'href="/refused"' in alex.get("/records/contacts/1"), "the record's own page leads there, too"


def test_all_refused_of_an_entity_are_sent_again_by_one_button(alex: Person, world: World) -> None:
    assert planned(world) == 0
    alex.get("/refused")
    alex.send("/refused/again")
    assert "The next sync sends 2 contacts again." in alex.text
    assert "Passportal refused nothing that is still to be sent." in alex.text
    assert planned(world) == 2


def test_a_second_press_and_an_unknown_record_say_that_nothing_is_held(alex: Person, world: World) -> None:
    alex.get("/refused")
    alex.send("/refused/again", bms_id="3")
    assert "No refusal of it is held any more." in alex.text
    alex.send("/refused/again", entity="nothing")
    assert alex.status == 404
    assert planned(world) == 0


@pytest.mark.parametrize("hands", [Mouse, Keyboard])
def test_one_record_is_sent_again_in_the_browser(browser: Browser, console: Console, world: World, hands: Any) -> None:
    with browser.new_context() as context:
        page = entered(context, console)
        page.goto(f"http://127.0.0.1:{console.port}/refused")
        hands(page).press("Send again Ann Lee")
        page.get_by_text("The next sync sends 1 contact again.").wait_for()
    assert planned(world) == 1
    assert [row[0] for row in world.operations("contacts").values()].count("update") == 1


def test_what_is_inactive_is_a_list_by_client_and_a_spreadsheet(alex: Person) -> None:
    for address in ("/", "/preview"):
        assert 'href="/inactive"' in alex.get(address)
        assert "1 documented contact in 1 client" in alex.text
    alex.get("/inactive")
    assert "=Cleo Lee" in alex.text
    content = alex.get("/inactive.csv")
    (row,) = csv.DictReader(io.StringIO(content.lstrip("\N{BYTE ORDER MARK}")))
    assert (row["entity"], row["bms_id"], row["client"]) == ("contacts", "3", "Acme <b>&</b> Co")
    assert row["name"] == "'=Cleo Lee", "no name is a formula"


@pytest.mark.parametrize("way", ["desk", "dark", "dark phone"])
def test_both_pages_are_accessible_and_fit(browser: Browser, console: Console, way: str) -> None:
    options: dict[str, Any] = {"bypass_csp": True, "viewport": {"width": 1400, "height": 800}, **WAYS[way]}
    with browser.new_context(**options) as context:
        page = entered(context, console)
        found = []
        for name in ("refused", "inactive", "preview"):
            page.goto(f"http://127.0.0.1:{console.port}/{name}")
            if PICTURES:
                page.screenshot(path=f"{PICTURES}/{name} {way}.png", full_page=True)
            assert page.evaluate(TOO_WIDE) == 0, name
            found += offends(page)
    assert found == []


def test_records_that_share_a_name_are_a_page_and_a_spreadsheet_too(alex: Person, world: World) -> None:
    world.passportal_holds(contacts=[in_passportal("D1", "Zoe <i>", "C1"), in_passportal("D2", "zoe <i>", "C1")])
    world.plan()
    assert 'href="/duplicates/names"' in alex.get("/duplicates")
    alex.get("/duplicates/names")
    assert alex.text.count("keep") == 1
    assert "zoe <i>" in alex.text
    content = alex.get("/duplicates/names.csv").lstrip("\N{BYTE ORDER MARK}")
    assert [row["passportal_id"] for row in csv.DictReader(io.StringIO(content))] == ["D1", "D2"]
