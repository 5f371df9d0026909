"""The stepper: which steps a home takes, what is done and left, and where the next step is."""

from __future__ import annotations

import re

import pytest

from bms_pipeline.console.context import Console
from bms_pipeline.console.walk import STEPS, WalkState, walk_on
from bms_pipeline_tests.building import World
from bms_pipeline_tests.console.serving import Person

BEGUN = WalkState(
    has_read=True,
    synced=dict.fromkeys(("users", "clients", "assets", "contacts", "locations"), True),
    waiting={"users": 2, "clients": 0},
    to_load=7,
    is_approved=False,
    is_finished=False,
)


def changed(**parts: object) -> WalkState:
    return WalkState(**{**BEGUN.__dict__, **parts})


def test_the_steps_are_those_of_the_vendor_in_the_vendors_order() -> None:
    assert [step.name for step in STEPS] == ["Set-up", "User Sync", "Client Sync", "Sync Preview", "Finish"]


def test_each_page_shows_what_is_done_and_what_is_left() -> None:
    walk = walk_on("/review/users", "", BEGUN)
    assert walk is not None
    assert [(shown.step.name, shown.is_done, shown.is_now, shown.left) for shown in walk.steps] == [
        ("Set-up", True, False, 0),
        ("User Sync", False, True, 2),
        ("Client Sync", True, False, 0),
        ("Sync Preview", False, False, 7),
        ("Finish", False, False, 0),
    ]


@pytest.mark.parametrize(
    ("off", "path", "leads_to", "is_form"),
    [
        ((), "/setup", "User Sync", True),
        ((), "/review/users", "Client Sync", False),
        ((), "/review/users/3/match", "Client Sync", False),
        ((), "/review/clients", "Sync Preview", True),
        (("users",), "/setup", "Client Sync", True),
        (("clients",), "/review/users", "Sync Preview", True),
        (("users", "clients"), "/setup", "Sync Preview", True),
    ],
)
def test_next_says_whereto_and_skips_what_is_not_synced(
    off: tuple[str, ...], path: str, leads_to: str, is_form: bool
) -> None:
    walk = walk_on(path, "", changed(synced=BEGUN.synced | dict.fromkeys(off, False)))  # type: ignore[operator]
    assert walk is not None
    assert walk.onwards is not None
    assert (walk.onwards.step.name, walk.onwards.is_form) == (leads_to, is_form)
    assert not {shown.step.entity for shown in walk.steps} & set(off)


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("/review/users", "Set-up"),
        ("/preview", "Client Sync"),
        ("/", "Finish"),
        ("/elsewhere", "Finish"),
        ("", "Finish"),
    ],
)
def test_a_run_belongs_to_the_step_that_started_it(then: str, now: str) -> None:
    walk = walk_on("/runs", then, BEGUN)
    assert walk is not None
    assert [shown.step.name for shown in walk.steps if shown.is_now] == [now]


def test_after_the_first_finish_the_stepper_is_quiet_and_leaves_the_overview() -> None:
    finished = changed(is_finished=True)
    assert walk_on("/", "", BEGUN) is not None
    assert walk_on("/", "", finished) is None
    walk = walk_on("/review/clients", "", finished)
    assert walk is not None
    assert walk.is_quiet


def test_other_pages_have_no_stepper() -> None:
    assert [walk_on(path, "", BEGUN) for path in ("/review/assets", "/orphans", "/name", "/setupx")] == [None] * 4


def steps_on(page: str) -> list[str]:
    """The names of the steps on a page, as a screen reader says them."""
    [found] = re.findall(r'<ol class="steps">.*?</ol>', page, re.DOTALL)
    return [
        " ".join(re.sub(r"<span[^>]*aria-hidden.*?</span>|<[^>]*>", "", item, flags=re.DOTALL).split())
        for item in re.findall(r"<li.*?</li>", found, re.DOTALL)
    ]


def test_every_page_of_the_walk_has_the_same_stepper(console: Console, alex: Person) -> None:
    for page in ("/", "/setup", "/review/users", "/review/clients", "/review/clients/13/match", "/preview", "/runs"):
        assert steps_on(alex.get(page)) == [
            "Set-up, done",
            "User Sync 2 left",
            "Client Sync 3 left",
            "Sync Preview 3 to load",
            "Finish",
        ], page


def test_user_sync_is_skipped_where_sync_users_is_off(world: World, console: Console, alex: Person) -> None:
    alex.get("/setup")
    alex.send("/setup/toggles", **{"sync.users": None})
    page = alex.get("/setup")
    assert [step.partition(",")[0] for step in steps_on(page)][:2] == ["Set-up", "Client Sync 3 left"]
    assert "Next: Client Sync" in page


def test_every_page_of_the_walk_has_one_filled_button_at_most(console: Console, alex: Person) -> None:
    for page in ("/setup", "/review/users", "/review/clients", "/preview", "/runs", "/runs?then=/preview"):
        filled = re.findall(r'<(?:button|a)[^>]* class="(?:button )?main"', alex.get(page))
        assert len(filled) <= 1, (page, filled)


def test_a_shared_address_survives_the_log_in_and_the_name(console: Console) -> None:
    shared = "/review/clients?q=acme&disposition=matched"
    blake = Person(console, "Blake", wanted=shared)
    assert blake.page is not None
    assert blake.page.headers["location"] == shared
