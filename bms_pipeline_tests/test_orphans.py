"""Orphans: what is matched and gone from BMS is listed, longest gone first, and never deleted."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path

from bms_pipeline.core.entities import CLIENTS, CONTACTS
from bms_pipeline.reports import figures
from bms_pipeline_tests.building import World, account, contact, in_passportal, opened_world

TWO = (CLIENTS, CONTACTS)


def gone(world: World) -> None:
    """Two matched contacts and one that never was are gone, since forty and since three days and a half."""
    world.accounts = [account(1, "Acme"), account(2, "Waits")]
    world.contacts = [
        contact(1, 1, "=Ann", "Lee"),
        contact(2, 1, "Bob", "Ray"),
        contact(3, 2, "Cleo", "Doe"),
        contact(4, 1, "Dan", "Moe"),
    ]
    world.passportal_holds(clients=[in_passportal("C1", "Acme")])
    world.cycle(None)
    world.contacts = world.contacts[3:]
    world.land()
    for bms_id, age in ((1, "84 HOUR"), (2, "40 DAY"), (3, "50 DAY")):
        # By the clock of the warehouse, which is UTC: as if an earlier sweep had shown it.
        since = f"missing_since - INTERVAL {age}"
        world.query(f"UPDATE bms.contacts SET missing_since = {since} WHERE bms_id = {bms_id} RETURNING 1")


def test_orphans_are_listed_longest_gone_first_and_stay_in_passportal(tmp_path: Path) -> None:
    with opened_world(tmp_path / "home", entities=TWO) as world:
        gone(world)
        before = world.content()
        found = figures.orphans(world.warehouse)
        assert [(each["entity"], each["bms_id"], each["name"], each["client"], each["days"]) for each in found] == [
            ("contacts", 2, "Bob Ray", "Acme", 40),
            ("contacts", 1, "=Ann Lee", "Acme", 3),
        ]
        assert isinstance(found[0]["missing_since"], datetime)
        assert {each["passportal_id"] for each in found} == {
            each
            for (each,) in world.query(
                "SELECT passportal_id FROM sync.matches WHERE bms_id IN (1, 2) AND entity = 'contacts'"
            )
        }
        assert figures.orphans(world.warehouse, [CLIENTS]) == []
        counts = figures.status(world.settings, world.warehouse).entities
        assert (counts["contacts"]["orphaned"], counts["contacts"]["oldest_orphan_days"]) == (2, 40)
        assert (counts["clients"]["orphaned"], counts["clients"]["oldest_orphan_days"]) == (0, None)
        world.plan()
        world.finish()
        assert world.content() == before

        file = tmp_path / "orphans.csv"
        assert figures.write_orphans(world.warehouse, file) == 2
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert [(each["entity"], each["bms_id"], each["name"]) for each in rows] == [
            ("contacts", "2", "Bob Ray"),
            ("contacts", "1", "'=Ann Lee"),
        ], "no name is a formula"
