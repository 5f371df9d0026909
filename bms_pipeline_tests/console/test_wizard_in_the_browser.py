"""The whole wizard in a real browser, by mouse and by keyboard alone; what was decided there came true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from bms_pipeline.console.context import Console
from bms_pipeline.console.pages import setup
from bms_pipeline_tests.building import World
from bms_pipeline_tests.chromium import Keyboard, Mouse, chromium
from bms_pipeline_tests.console.serving import served
from bms_pipeline_tests.running import Home
from bms_sandbox.process import Sandbox, running_sandbox
from bms_sandbox.tenant import Size

RUN_SECONDS = 240
WAITING = """
SELECT r.bms_id, b.name FROM sync.reconciled_{entity} r JOIN bms.{entity} b USING (bms_id)
WHERE r.disposition = 'unmatched' AND {reason} AND b.name = regexp_replace(trim(b.name), '\\s+', ' ', 'g')
  AND regexp_full_match(b.name, '[A-Za-z .&]+')
ORDER BY bms_id
"""
NEAR, ALONE = "r.reason = 'near_identical_name'", "r.reason <> 'near_identical_name'"

Person = Mouse | Keyboard


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("size", ["small", "typical"])
@pytest.mark.parametrize("kind", [Keyboard, Mouse])
def test_the_wizard_from_an_empty_home_to_finish(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: Size, kind: type[Person]
) -> None:
    for name in setup.FIELDS:
        monkeypatch.delenv(name, raising=False)
    with running_sandbox(size, 1, tmp_path / "tenant", {"hourly_limit": None}) as sandbox:
        home = Home(tmp_path / "home", sandbox)
        with served(home.settings) as console, browser.new_context(viewport={"width": 1400, "height": 900}) as context:
            page = context.new_page()
            page.goto(console.new_address())
            page.get_by_label("Your name").wait_for()  # where the page of the log-in leads
            person = kind(page)
            set_up(person, sandbox)
            decided = {entity: decide(person, console, entity) for entity in ("users", "clients")}
            excluded = decide_about_many(person, console)
            finish(person)
        came_true(home, decided, excluded)
        assert home.run("preview", "--json").returncode == 0, "a second plan does nothing"


def set_up(person: Person, sandbox: Sandbox) -> None:
    """Steps 1 to 8: who decides, the connection, Authenticate, and both sides read."""
    person.type("Your name", "Robin")
    person.press("Go on")
    person.press("Set-up")
    connect_to(person, sandbox)
    person.press("Authenticate")
    says(person.page, f"BMS answers at {sandbox.url}")
    person.press("Next: User Sync")
    go_on_after_the_run(person)


def decide(person: Person, console: Console, entity: str) -> dict[str, Any]:
    """Steps 9 to 11 and 14 to 16: Auto-Match All, one by one, Create Unmatched; verb → whom."""
    heading = {"users": "User Sync", "clients": "Client Sync"}[entity]
    assert person.page.get_by_role("heading", level=1).inner_text() == heading
    person.decide("Auto-Match All")
    says(person.page, "Matched ")
    near, alone = waiting(console, entity, NEAR)[0], waiting(console, entity, ALONE)
    only(person, near["name"])
    best = " ".join(person.page.locator("button[data-key=m]").first.inner_text().split())
    person.decide(best)
    says(person.page, f"Matched {near['name']}")
    for verb, record in zip(("Exclude", "Create"), alone, strict=False):
        only(person, record["name"])
        person.decide(f"{verb} {record['name']}")
        says(person.page, record["name"])
    person.press("Show all again")
    create_unmatched(person)
    says(person.page, "Approved creating")
    if entity == "users":
        person.press("Next: Client Sync")
    return {"match": (near["bms_id"], best.split()[-1]), "exclude": alone[0]["bms_id"], "create": alone[1]["bms_id"]}


def decide_about_many(person: Person, console: Console) -> list[int]:
    """Step 16 in bulk, and 17: all that are ambiguous are excluded, and one of them comes back; the others' ids."""
    ambiguous = console.rows("SELECT bms_id, name FROM sync.reconciled_clients JOIN bms.clients USING (bms_id)"
                             " WHERE disposition = 'ambiguous' ORDER BY bms_id")  # fmt: skip
    before = console.dispositions()["clients"].get("excluded", 0)
    person.press(f"Ambiguous {len(ambiguous)}")
    person.choose("those that are ticked", f"all {len(ambiguous)} that are found")
    person.type("Why", "twins")
    person.decide("Exclude")
    says(person.page, f"Excluded {len(ambiguous)} clients")
    person.press(f"Excluded Records {len(ambiguous) + before}")
    back = ambiguous[0]["name"].strip()
    only(person, back)
    person.decide(f"Include {back}")
    says(person.page, f"Included {back} again.")
    person.press("Show all again")
    return [each["bms_id"] for each in ambiguous]


def finish(person: Person) -> None:
    """Steps 19 and 20: the plan, record by record, and exactly that is loaded."""
    person.press("Next: Sync Preview")
    go_on_after_the_run(person)
    says(person.page, "not approved")
    person.press("to create")
    assert person.page.locator("ol.records li").count() > 0
    person.press("← Sync Preview")
    person.press("Finish…")
    says(person.page, "You finish as Robin")
    person.press("Finish: load exactly this plan")
    go_on_after_the_run(person)
    says(person.page, "Initial sync")
    assert person.page.locator("dl.facts dd").first.inner_text() == "finished"


def came_true(home: Home, decided: dict[str, Any], excluded: list[int]) -> None:
    """Every decision is in the warehouse, under the name of who took it, and in Passportal."""
    matches = {(entity, bms_id): str(found) for entity, bms_id, found in home.warehouse(
        "SELECT entity, bms_id, passportal_id FROM sync.matches"
    )}  # fmt: skip
    left_out = home.warehouse("SELECT entity, bms_id FROM sync.exclusions")
    for entity, verbs in decided.items():
        matched, wanted = verbs["match"]
        assert matches[entity, matched] == wanted
        assert (entity, verbs["create"]) in matches
        assert (entity, verbs["exclude"]) in left_out
        assert (entity, verbs["exclude"]) not in matches
    assert len([each for each in excluded if ("clients", each) in left_out]) == len(excluded) - 1
    assert home.warehouse("SELECT count(*) FROM sync.decisions WHERE why = 'twins'") == [(len(excluded),)]
    assert home.warehouse("SELECT DISTINCT decided_by FROM sync.decisions") == [("Robin",)]
    assert home.warehouse("SELECT approved_by FROM sync.plans WHERE approved_by IS NOT NULL") == [("Robin",)]


def waiting(console: Console, entity: str, reason: str) -> list[dict[str, Any]]:
    """Who waits, of those whose names are easily typed."""
    return console.rows(WAITING.format(entity=entity, reason=reason))


def only(person: Person, name: str) -> None:
    """Search for ``name``."""
    person.type("Name contains", name)
    person.press("Search")


def go_on_after_the_run(person: Person) -> None:
    """The page of runs goes on to a step by itself; after a finish, and after a very short run, its link does."""
    page = person.page
    link = page.get_by_role("link", name=re.compile("^Next"))
    if page.locator("main[data-then]").count() and page.locator("#live[data-renew]").count():
        page.wait_for_url(lambda address: "/runs" not in address, timeout=RUN_SECONDS * 1000)
        return
    link.wait_for(timeout=RUN_SECONDS * 1000)
    assert page.locator(".alert").count() == 0, page.locator("main").inner_text()
    person.press(" ".join(link.inner_text().split()))


def says(page: Page, text: str) -> None:
    """The page says ``text``."""
    assert text in page.locator("main").inner_text(), page.locator("main").inner_text()[:2000]


def test_without_scripts_everything_is_decided_and_looked_at_all_the_same(
    browser: Browser, console: Console, world: World
) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(console.new_address())
        page.get_by_label("Your name").wait_for()  # where the page of the log-in leads
        robin = Mouse(page)
        robin.type("Your name", "Robin")
        robin.press("Go on")
        robin.press("Clients 3 waiting")
        robin.tick("Tick Borealis")
        robin.tick("Tick Zenith Corp")
        robin.press("Exclude")
        says(page, "Excluded 2 clients: Borealis, Zenith Corp.")
        robin.press("Set-up")
        robin.tick("Auto-create new users")
        robin.press("Save the toggles")
        says(page, "auto_create.users: off → on")
        robin.press("Sync Preview")
        says(page, "decisions, settings changed")
    assert world.lasting()["exclusions"] == [("clients", 11), ("clients", 13)]


def test_by_keyboard_alone_a_match_is_picked_the_rest_decided_and_the_plan_looked_at(
    browser: Browser, console: Console, world: World
) -> None:
    """What the whole wizard by keyboard does at length (`make soak`), on a handful of records."""
    with browser.new_context(viewport={"width": 1400, "height": 900}) as context:
        page = context.new_page()
        page.goto(console.new_address())
        page.get_by_label("Your name").wait_for()  # where the page of the log-in leads
        robin = Keyboard(page)
        robin.type("Your name", "Robin")
        robin.press("Go on")
        robin.press("Clients 3 waiting")
        robin.decide("Match Zenith Corp with Zenith Corporation P4")
        says(page, "Matched Zenith Corp with Zenith Corporation (P4).")
        robin.press("Ambiguous 1")
        robin.choose("those that are ticked", "all 1 that are found")
        robin.decide("Exclude")
        robin.press("Excluded Records 1")
        robin.decide("Include Twins")
        robin.press("Unmatched 1")
        robin.tick("Tick Borealis")
        robin.decide("Create")
        robin.press("Sync Preview")
        says(page, "decisions changed")
    assert world.lasting()["approved_creates"] == [("clients", 11, False)]
    assert ("clients", 13, "P4") in world.lasting()["matches"]
    assert world.lasting()["exclusions"] == []


WALK = ["Set-up", "User Sync", "Client Sync", "Sync Preview", "Finish"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("users", ["on", pytest.param("off", marks=pytest.mark.soak)])
def test_every_page_of_the_vendors_walk_through_comes_in_its_order_by_keyboard(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, users: str
) -> None:
    for name in setup.FIELDS:
        monkeypatch.delenv(name, raising=False)
    steps = [step for step in WALK if users == "on" or step != "User Sync"]
    with running_sandbox("small", 1, tmp_path / "tenant", {"hourly_limit": None}) as sandbox:
        home = Home(tmp_path / "home", sandbox)
        with served(home.settings) as console, browser.new_context(viewport={"width": 1400, "height": 900}) as context:
            page = context.new_page()
            page.goto(console.new_address())
            page.get_by_label("Your name").wait_for()
            person = Keyboard(page)
            person.type("Your name", "Robin")
            person.press("Go on")
            assert here(page) == ("Set-up", steps if users == "on" else WALK), "the first visit leads to Set-up"
            connect_to(person, sandbox)
            if users == "off":
                person.tick("Sync users")
                person.press("Save the toggles")
            person.press("Authenticate")
            says(page, f"BMS answers at {sandbox.url}")
            for step in steps[1:3] if users == "on" else steps[1:2]:
                person.press(f"Next: {step}")
                if step == steps[1]:
                    go_on_after_the_run(person)
                assert here(page) == (step, steps)
                person.decide("Auto-Match All")
                create_unmatched(person)
            person.press("Next: Sync Preview")
            go_on_after_the_run(person)
            assert here(page) == ("Sync Preview", steps)
            person.press("Finish…")
            assert here(page) == ("Sync Preview", steps)
            person.press("Finish: load exactly this plan")
            assert here(page) == ("Finish", steps)
            go_on_after_the_run(person)
            page.goto(f"{console.origin}/")
            assert page.locator("ol.steps").count() == 0, "after the first finish the overview has no stepper"
            page.goto(f"{console.origin}/review/clients")
            assert page.locator("nav.walk.quiet").count() == 1
    assert home.status()["initial_sync_finished"] is True


def create_unmatched(person: Person) -> None:
    """Press *Create Unmatched* and say yes on the page that asks."""
    link = person.page.get_by_role("link", name=re.compile("^Create Unmatched"))
    link.wait_for()
    person.press(link.inner_text().strip())
    person.press(person.page.locator("main button.main").inner_text().strip())


def connect_to(person: Person, sandbox: Sandbox) -> None:
    """Enter the connection and save it."""
    login, labels = sandbox.login, setup.BMS_FIELDS
    person.type(labels["BMS_URL"], sandbox.url)
    person.type(labels["BMS_TENANT"], login["tenant"])
    person.type(labels["BMS_USERNAME"], login["username"])
    person.type(labels["BMS_PASSWORD"], login["password"])
    person.press("Save")
    says(person.page, "The connection is saved.")


def here(page: Page) -> tuple[str, list[str]]:
    """The step that the page says it is, and all steps in their order."""
    now = page.locator("ol.steps [aria-current=step]").evaluate(BARE)
    return now, [step.evaluate(BARE) for step in page.locator("ol.steps li > a").all()]


BARE = "link => [...link.childNodes].filter(node => node.nodeType === 3).map(node => node.data.trim()).join('')"
