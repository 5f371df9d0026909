"""Duplicates that were in Passportal before: listed by client with the one to keep, and left as they are."""

from __future__ import annotations

import csv
from pathlib import Path

from bms_pipeline.core.entities import CLIENTS, CONTACTS
from bms_pipeline.reports.same_names import same_names, write_same_names
from bms_pipeline_tests.building import account, contact, in_passportal, opened_world


def test_records_of_one_name_in_one_client_are_listed_with_the_one_to_keep(tmp_path: Path) -> None:
    with opened_world(tmp_path / "home", entities=(CLIENTS, CONTACTS)) as world:
        world.accounts = [account(1, "Acme"), account(2, "=Beta")]
        world.contacts = [contact(1, 1, "Cat", "Fox", "cat@acme.example")]
        world.passportal_holds(
            clients=[in_passportal("P1", "Acme"), in_passportal("P2", "=Beta")],
            contacts=[
                in_passportal("D1", "Ann  LEE", "P1"),
                in_passportal("D2", "ann lee", "P1", phone="1", email="a@acme.example"),
                in_passportal("D3", "Ann Lee", "P2", phone="1"),  # another client's
                in_passportal("D4", "N/A", "P1"),
                in_passportal("D5", "N/A", "P1"),
                in_passportal("D6", "Cat Fox", "P1", phone="1", job_title="CEO", location="Main"),
                in_passportal("D7", "Cat Fox", "P1", email="cat@acme.example"),
                in_passportal("D8", "Bob", "P2"),
                in_passportal("D9", "BOB", "P2"),
            ],
        )
        world.cycle()
        before = world.content()
        rows = same_names(world.warehouse)
        ids = {row["passportal_id"]: row for row in rows}
        assert set(ids) == {"D1", "D2", "D6", "D7", "D8", "D9"}, "a placeholder is no name, and each client is alone"
        kept = {row["passportal_id"] for row in rows if row["is_suggested"]}
        assert kept & {"D1", "D2"} == {"D2"}, "the best filled"
        assert len(kept) == 3
        linked = [row["passportal_id"] for row in rows if row["linked_to"] is not None]
        assert linked == [] or kept >= set(linked), "what is linked to BMS goes first"
        assert world.content() == before
        file = tmp_path / "names.csv"
        assert write_same_names(world.warehouse, file) == 6
        with file.open(encoding="utf-8-sig", newline="") as lines:
            assert {row["client"] for row in csv.DictReader(lines)} == {"Acme", "'=Beta"}, "no name is a formula"
