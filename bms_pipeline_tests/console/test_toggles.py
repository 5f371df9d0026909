"""The toggles of set-up: what they allow, and that nobody switches what another one switched."""

from __future__ import annotations

from bms_pipeline.console.context import Console
from bms_pipeline_tests.building import World
from bms_pipeline_tests.console.serving import Person


def test_auto_create_is_available_only_while_its_sync_is_on(alex: Person, world: World) -> None:
    alex.get("/setup")
    alex.send("/setup/toggles", **{"sync.users": None})
    assert "sync.users: on → off" in alex.text
    assert "2 users: unmatched (waits for decision) → out of scope (sync is off)" in alex.text
    text = alex.get("/setup")
    assert 'name="auto_create.users" disabled' in text
    alex.send("/setup/toggles", **{"auto_create.users": "on"})  # by whoever takes the lock off the field
    assert "No change: these settings are already set." in alex.text
    alex.get("/setup")
    alex.send("/setup/toggles", **{"sync.users": "on", "auto_create.users": "on"})
    assert "auto_create.users: off → on" in alex.text


def test_only_what_was_switched_on_this_page_is_changed(console: Console, alex: Person, world: World) -> None:
    blake = Person(console, "Blake")
    blake.get("/setup")
    alex.get("/setup")
    alex.send("/setup/toggles", **{"sync.contacts": None})
    blake.send("/setup/toggles", **{"auto_create.clients": "on"})
    assert "sync.contacts" not in blake.text.split("Set-up")[1].split("Kaseya")[0]
    assert dict(world.query("SELECT name, changed_by FROM sync.settings_history")) == {
        "sync.contacts": "Alex",
        "auto_create.clients": "Blake",
    }
