"""A field that is a link: written by id where doctor proved it, never by name, never over a person's link or text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline.plan.standings import Standing
from bms_pipeline.reconcile.decisions import Decision
from bms_pipeline.reports import figures, plan_preview
from bms_pipeline_tests.building import account, asset, contact, location
from bms_pipeline_tests.passportal.conftest import ACME, BETA, Service
from bms_pipeline_tests.running import quick_and_soak
from bms_pipeline_tests.sync.linked import ANN, DEPOT, HQ, SITE, LinkedWorld, linked_world
from bms_sandbox.documents_api.store import Link

JOHN = 201
SWITCHES: list[dict[str, Any]] = [
    {"values": "either", "label_types": {"Contact": {"Location": "link"}}},
    {"details_form": "positions", "update": "batch", "encoded_titles": True},
    {"blanks": "left out"},
    {"bare_values": True},
]
PROVED = {"PP_LINKS": "by their id", "PP_SENT_VALUES": "element"}


@pytest.fixture
def tenant(empty_service: Service) -> Iterator[LinkedWorld]:
    """Synced without a mapping; then a person mapped the location as a link, which is proved to be kept."""
    with linked_world(empty_service) as tenant:
        tenant.know(**PROVED)
        tenant.cycle()
        tenant.map()
        yield tenant


@pytest.mark.parametrize("switches", quick_and_soak(SWITCHES[:2], SWITCHES))
def test_what_doctor_proved_is_written_by_id_and_the_second_sync_plans_nothing(
    empty_service: Service, switches: dict[str, Any]
) -> None:
    with linked_world(empty_service, **switches) as tenant:
        assert tenant.prove() == "by their id"
        tenant.cycle()
        tenant.map()
        plan = tenant.cycle()
        assert (plan.operations, tenant.held("John Smith")) == (1, Link("HQ", HQ, "location"))
        assert tenant.plan().operations == 0
        assert tenant.held("Ann Lee") == Link("HQ", HQ, "location"), "nobody's link was touched"
        tenant.world.contacts[0] |= {"locationId": 12, "locationName": "HQ"}
        tenant.cycle()
        assert tenant.held("John Smith") == Link("Depot", DEPOT, "location"), "the id counts and not the name"
        assert tenant.plan().operations == 0


def test_nothing_is_linked_before_doctor_proved_it_and_the_plan_says_so(empty_service: Service, tmp_path: Path) -> None:
    with linked_world(empty_service) as tenant:
        tenant.know(PP_SENT_VALUES="element")
        tenant.cycle()
        tenant.map()
        assert tenant.cycle().operations == 0
        assert tenant.unlinked() == {21: {"location": "links_not_proved"}}
        assert tenant.operations()[21].reason == "link_waits"
        (said,) = plan_preview.overview(tenant.world.warehouse).warnings
        assert said.startswith("1 link of contacts, Location: not written;")
        assert "`bms-pipeline doctor --write DOCUMENT --yes`" in said
        assert tenant.held("John Smith") is None
        tenant.know(PP_LINKS="by their text")
        assert tenant.plan().operations == 0
        tenant.know(PP_LINKS="by their id")
        assert tenant.plan().operations == 1
        (shown,) = plan_preview.overview(tenant.world.warehouse).examples
        assert shown.changes == [{"field": "location", "before": None, "after": f"#{HQ} HQ"}], "its title and its id"
        plan_preview.write_plan_csv(tenant.world.warehouse, tmp_path / "plan.csv")
        assert f',location,,"#{HQ} HQ",' in (tmp_path / "plan.csv").read_text(encoding="utf-8")
        tenant.world.finish(tenant.target)
        assert tenant.held("John Smith") == Link("HQ", HQ, "location")
        told = figures.explain(tenant.world.warehouse, "contacts", 21)
        assert told.history[-1].changes == [{"field": "location", "before": None, "after": f"#{HQ} HQ"}]
        assert told.titles == {f"#{HQ}": f"#{HQ} HQ"}


def test_of_two_people_with_one_name_the_id_says_who(empty_service: Service) -> None:
    user = '\n[assets.fields]\nassigned_user = { link = "contacts" }\nlocation = { link = "locations" }'
    with linked_world(empty_service) as tenant:
        tenant.know(**PROVED)
        names = {"First Name": "John", "Last Name": "Smith"}
        tenant.service.hold(202, "contact", "John Smith", 5000, values={**names, "Email Address": "second@example.com"})
        linked = {"Assigned User": Link("Ann Lee", ANN, "contact"), "Location": Link("HQ", HQ, "location")}
        tenant.service.hold(301, "asset", "PC-1", 79, values={"Name": "PC-1", "Serial Number": "SN-100"})
        tenant.service.hold(302, "asset", "Ann's", 79, values={"Name": "Ann's", **linked})
        tenant.world.contacts = [
            contact(21, 1, "John", "Smith", "first@example.com"),
            contact(22, 1, "John", "Smith", "second@example.com"),
        ]
        tenant.world.assets = [asset(31, 1, "PC-1", "SN-100", contactId=22, contactName="John Smith")]
        tenant.plan()
        tenant.world.match("contacts", 21, str(JOHN))
        tenant.world.match("contacts", 22, "202")
        tenant.cycle()
        tenant.map(SITE + user)
        tenant.world.answer_details({31: {"accountLocationId": 12}})
        tenant.cycle()
        assert tenant.held("PC-1", "Assigned User") == Link("John Smith", 202, "contact")
        assert tenant.held("PC-1") == Link("Depot", DEPOT, "location"), "BMS has this id in the details"
        assert tenant.plan().operations == 0


def test_a_record_that_this_load_creates_is_linked_by_the_next_plan(tenant: LinkedWorld) -> None:
    tenant.cycle()
    tenant.world.accounts[0]["locations"].append(location(14, "New site"))
    tenant.world.contacts += [
        contact(22, 1, "Eve", "New", locationId=14, locationName="New site"),
        contact(23, 1, "Max", "New", locationId=11, locationName="HQ"),
    ]
    tenant.plan()
    assert tenant.unlinked() == {22: {"location": "link_to_unmatched"}, 23: {"location": "link_after_create"}}
    tenant.world.finish(tenant.target)
    assert tenant.held("Max New") is None
    tenant.plan()
    made = {bms_id: row.reason for bms_id, row in tenant.operations().items() if row.changes}
    assert made == {22: "links_completed", 23: "links_completed"}
    assert figures.explain(tenant.world.warehouse, "contacts", 22).standing.standing is Standing.DIFFERS  # type: ignore[union-attr]
    tenant.world.finish(tenant.target)
    site = next(record for record in tenant.service.store.records.values() if record.title == "New site")
    assert tenant.held("Eve New") == Link("New site", site.id, "location")
    assert tenant.held("Max New") == Link("HQ", HQ, "location")
    assert tenant.plan().operations == 0


def test_a_target_that_is_not_there_keeps_what_stands_and_is_listed(tenant: LinkedWorld) -> None:
    tenant.cycle()
    tenant.world.contacts[0]["locationId"] = 12
    tenant.service.edit(DEPOT, disabled=True)
    assert tenant.plan().operations == 0
    assert tenant.unlinked() == {21: {"location": "link_to_gone_record"}}
    tenant.service.edit(DEPOT, disabled=False)
    tenant.service.store.records[DEPOT].client_id = BETA
    tenant.plan()
    assert tenant.unlinked() == {21: {"location": "link_to_other_client"}}
    tenant.service.store.records[DEPOT].client_id = ACME
    tenant.world.unmatch("locations", 12)
    tenant.world.exclude("locations", 12)
    tenant.plan()
    assert tenant.unlinked() == {21: {"location": "link_to_unmatched"}}
    assert tenant.held("John Smith") == Link("HQ", HQ, "location"), "what stands there stays"
    tenant.world.contacts[0]["locationId"] = 99
    tenant.plan()
    assert tenant.unlinked() == {21: {"location": "link_to_unmatched"}}
    tenant.world.contacts[0]["locationId"] = 0
    tenant.plan()
    assert tenant.operations()[21].reason == "unchanged"
    assert tenant.unlinked() == {}, "BMS names no location, which blanks nothing"


def test_a_persons_link_and_a_persons_text_stay(tenant: LinkedWorld) -> None:
    tenant.world.contacts.append(contact(22, 1, "Ann", "Lee", locationId=12, locationName="Depot"))
    tenant.cycle()
    assert tenant.held("Ann Lee") == Link("HQ", HQ, "location"), "an adoption fills only what is empty"
    assert tenant.operations()[22].kept == {"location": (f"#{DEPOT}", f"#{HQ}")}
    tenant.enter(JOHN, "Location", Link("Depot", DEPOT, "location"))
    assert tenant.plan().operations == 0, "a person's edit, and BMS did not change"
    tenant.enter(JOHN, "Location", "next to the lift")
    tenant.world.contacts[0]["locationId"] = 12
    assert tenant.cycle().operations == 0
    assert tenant.unlinked() == {21: {"location": "link_holds_text"}}
    assert tenant.held("John Smith") == "next to the lift"


def test_a_location_of_a_branch_lies_in_the_same_client(tenant: LinkedWorld) -> None:
    tenant.world.accounts.append(account(3, "Acme in Graz", location(15, "Yard")))
    tenant.world.contacts[0]["locationId"] = 15
    tenant.plan()
    tenant.world.say(Decision("branch", "clients", 3, str(ACME)))
    tenant.cycle()
    tenant.cycle()
    assert isinstance(tenant.held("John Smith"), Link)
    assert tenant.held("John Smith").text == "Yard"  # type: ignore[union-attr]
    assert tenant.plan().operations == 0


def test_undo_puts_the_old_link_back_under_the_same_label_only(tenant: LinkedWorld) -> None:
    first = tenant.cycle()
    tenant.world.contacts[0]["locationId"] = 12
    second = tenant.cycle()
    assert tenant.held("John Smith") == Link("Depot", DEPOT, "location")
    tenant.undo(second.plan_id)
    assert tenant.held("John Smith") == Link("HQ", HQ, "location")
    assert tenant.plan().operations == 0, "what was taken back is not written again"
    tenant.undo(first.plan_id)
    assert tenant.held("John Smith") is None, "there was none"
    tenant.world.contacts[0]["locationId"] = 11
    third = tenant.cycle()
    assert tenant.held("John Smith") == Link("HQ", HQ, "location")
    tenant.map('[contacts.fields]\nlocation = "Location"')
    tenant.plan()
    tenant.undo(third.plan_id)
    assert tenant.held("John Smith") == Link("HQ", HQ, "location"), "as a text it has another place"
