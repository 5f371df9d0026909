"""What became inactive in BMS after it was documented: Passportal says so where the mapping has a word for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bms_pipeline.core.entities import CONTACTS
from bms_pipeline.core.errors import BreakerOpen
from bms_pipeline.plan.breakers import check_breakers
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.reports.plan_preview import overview
from bms_pipeline_tests.building import account, asset, contact
from bms_pipeline_tests.sync.mapped import PLAIN, MappedWorld, mapped_world

FOLLOWS = '[assets.fields]\nstatus = { label = "Status", active = "Active", inactive = "Inactive" }'


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> MappedWorld:
    """Four assets of a client, whose details are read, loaded under a mapping that follows what is inactive."""
    with mapped_world(tmp_path_factory.mktemp("loaded"), {"79": PLAIN, "212": ["Serial Number"]}) as tenant:
        tenant.world.assets = [asset(n, 1, f"PC-{n}", f"SN-100{n}") for n in range(1, 5)]
        tenant.map(FOLLOWS)
        tenant.cycle()
        tenant.world.answer_details({1: {"state": "In Use"}, 2: {}, 3: {"state": "Spare"}, 4: {}})
        tenant.cycle()
        assert tenant.plan().operations == 0
        tenant.finish()
        tenant.passportal.wrote.clear()
    return tenant


@pytest.fixture
def tenant(loaded: MappedWorld, tmp_path: Path) -> Iterator[MappedWorld]:
    with mapped_world(tmp_path / "home", like=loaded) as tenant:
        yield tenant


def status(tenant: MappedWorld) -> list[str | None]:
    """The status of each asset in Passportal."""
    return [tenant.assets()[f"PC-{n}"].get("Status") for n in range(1, 5)]


def activate(tenant: MappedWorld, *numbers: int, active: bool, **more: Any) -> None:
    """These assets are active in BMS from now on, or not."""
    for number in numbers:
        tenant.world.assets[number - 1] |= {"isActive": active, **more}


def test_what_became_inactive_says_so_and_what_is_active_again_follows_back(tenant: MappedWorld) -> None:
    assert status(tenant) == ["In Use", "Active", "Spare", "Active"]
    activate(tenant, 1, 2, active=False)
    plan = tenant.plan()
    rows = tenant.operations()
    assert [(rows[n].operation, rows[n].reason) for n in (1, 2)] == [("update", "became_inactive")] * 2
    assert rows[1].changes == {"status": ("In Use", "Inactive")}
    assert plan.operations == 2
    totals = overview(tenant.world.warehouse).totals["assets"]
    assert {name: count for name, count in totals.items() if count} == {"to update": 2, "unchanged": 2}
    tenant.finish()
    assert tenant.world.query("SELECT count(*) FROM sync.outcomes WHERE outcome = 'updated'") == [(2,)]
    assert status(tenant) == ["Inactive", "Inactive", "Spare", "Active"]
    assert tenant.cycle().operations == 0, "the second sync writes nothing"
    activate(tenant, 1, 2, active=True)
    tenant.cycle()
    assert status(tenant) == ["In Use", "Active", "Spare", "Active"]
    assert tenant.cycle().operations == 0


def test_no_other_field_follows_what_is_inactive_until_it_is_active_again(tenant: MappedWorld) -> None:
    activate(tenant, 1, active=False, ipAddress="10.0.0.1", assetName="Renamed")
    tenant.cycle()
    assert {(wrote.label, wrote.text) for wrote in tenant.passportal.wrote} == {("Status", "Inactive")}
    assert tenant.plan().operations == 0
    activate(tenant, 1, active=True)
    tenant.cycle()
    assert tenant.assets()["Renamed"] | {"Primary IP": "10.0.0.1", "Status": "In Use"} == tenant.assets()["Renamed"]


def test_a_new_record_that_is_inactive_is_never_created(tenant: MappedWorld) -> None:
    tenant.world.assets.append(asset(5, 1, "PC-5", "SN-1005", isActive=False))
    assert tenant.cycle().operations == 0
    assert (tenant.operations()[5].operation, tenant.operations()[5].reason) == ("skip", "inactive")


def test_an_inactive_record_that_fits_a_document_is_not_matched_to_it(tenant: MappedWorld) -> None:
    client = tenant.document("PC-1").client_id
    tenant.passportal.enter("asset", "PC-5", client, Serial_Number="SN-1005")
    tenant.world.assets.append(asset(5, 1, "PC-5", "SN-1005", isActive=False))
    assert tenant.cycle().operations == 0
    assert "Status" not in tenant.assets()["PC-5"]


def test_a_persons_status_stays_and_is_listed_as_kept(tenant: MappedWorld) -> None:
    tenant.document("PC-1").values["Status"] = "In repair"
    activate(tenant, 1, active=False)
    assert tenant.cycle().operations == 0
    assert tenant.operations()[1].kept == {"status": ("Inactive", "In repair")}
    assert tenant.operations()[1].reason == "inactive"
    assert status(tenant)[0] == "In repair"


@pytest.mark.parametrize(
    "why_not",
    ["excluded", "category", "sync off", "another client", "client inactive", "client excluded", "without a word"],
)
def test_nothing_is_written_where_something_else_keeps_the_record_out(tenant: MappedWorld, why_not: str) -> None:
    activate(tenant, 1, active=False)
    match why_not:
        case "excluded":
            tenant.world.exclude("assets", 1)
        case "category":
            tenant.world.set("asset_categories", ["Server"])
        case "sync off":
            tenant.world.set(
                "sync", {**dict.fromkeys(("clients", "users", "locations", "contacts"), True), "assets": False}
            )
        case "another client":
            tenant.world.accounts.append(account(2, "Other"))
            tenant.passportal.enter("client", "Other")
            tenant.world.assets[0]["accountId"] = 2
        case "client inactive":
            tenant.world.accounts[0]["isActive"] = False
        case "client excluded":
            tenant.world.exclude("clients", 1)
        case _:
            tenant.map("")
    tenant.cycle()
    assert status(tenant)[0] == "In Use"
    assert [wrote for wrote in tenant.passportal.wrote if wrote.bms_id == 1] == []


def test_a_record_that_left_bms_altogether_keeps_its_status(tenant: MappedWorld) -> None:
    del tenant.world.assets[0]
    tenant.cycle()
    assert status(tenant)[0] == "In Use"


def test_a_mapping_that_comes_later_is_foretold_and_its_plan_waits(tmp_path: Path) -> None:
    with mapped_world(tmp_path / "home") as tenant:
        tenant.world.assets = [asset(n, 1, f"PC-{n}", f"SN-100{n}") for n in range(1, 3)]
        tenant.cycle()
        tenant.world.answer_details({1: {"state": "In Use"}, 2: {"state": "In Use"}})
        tenant.cycle()
        activate(tenant, 1, active=False)
        assert tenant.cycle().operations == 0, "without a word nothing is written"
        (change,) = tenant.foretell(FOLLOWS).changes
        assert (change.filled, change.followed, change.overwritten, change.kept) == (0, 1, 0, 0)
        tenant.map(FOLLOWS)
        tenant.cycle()
        assert tenant.operations()[1].reason == "mapping_changed"
        assert [tenant.assets()[f"PC-{n}"]["Status"] for n in (1, 2)] == ["Inactive", "In Use"]
        assert tenant.cycle().operations == 0


def test_a_constant_is_the_word_of_an_active_record(tmp_path: Path) -> None:
    with mapped_world(tmp_path / "home") as tenant:
        tenant.map('[assets.fields]\nstatus = { constant = "Live", inactive = "Retired" }')
        tenant.world.assets = [asset(1, 1, "PC-1", "SN-1001")]
        tenant.cycle()
        for active, word in ((False, "Retired"), (True, "Live")):
            tenant.world.assets[0]["isActive"] = active
            tenant.cycle()
            assert tenant.assets()["PC-1"]["Status"] == word
            assert tenant.cycle().operations == 0


def test_details_that_come_late_take_the_place_of_the_word(tmp_path: Path) -> None:
    with mapped_world(tmp_path / "home") as tenant:
        tenant.map(FOLLOWS)
        tenant.world.assets = [asset(1, 1, "PC-1", "SN-1001")]
        tenant.cycle()
        assert "Status" not in tenant.assets()["PC-1"], "nobody knows yet which state BMS has"
        tenant.world.assets[0]["isActive"] = False
        tenant.cycle()
        assert tenant.assets()["PC-1"]["Status"] == "Inactive"
        tenant.world.assets[0]["isActive"] = True
        tenant.world.answer_details({1: {"state": "In Use"}})
        tenant.cycle()
        assert tenant.assets()["PC-1"]["Status"] == "In Use"
        assert tenant.cycle().operations == 0


def test_undo_puts_the_former_status_back_and_no_sync_writes_it_again(tenant: MappedWorld) -> None:
    activate(tenant, 1, active=False)
    plan = tenant.cycle()
    assert status(tenant)[0] == "Inactive"
    tenant.undo(plan.plan_id)
    assert status(tenant)[0] == "In Use"
    assert tenant.cycle().operations == 0
    activate(tenant, 1, active=True)
    assert tenant.cycle().operations == 0


def test_a_template_without_the_label_is_named_and_the_second_sync_plans_nothing(tmp_path: Path) -> None:
    with mapped_world(tmp_path / "home", {"79": ["Serial Number"]}) as tenant:
        tenant.map(FOLLOWS, anyway=True)
        tenant.world.assets = [asset(1, 1, "PC-1", "SN-1001")]
        tenant.cycle()
        tenant.world.assets[0]["isActive"] = False
        assert tenant.cycle().operations == 0
        assert tenant.world.query("SELECT no_place[1].field FROM sync.operations WHERE entity = 'assets'") == [
            ("status",)
        ]


def test_contacts_and_locations_say_it_too(tmp_path: Path) -> None:
    with mapped_world(tmp_path / "home") as tenant:
        tenant.map('[contacts.fields]\njob_title = { active = "staff", inactive = "left" }')
        tenant.world.contacts = [contact(1, 1, "Ann", "Lee", jobTitle="CEO"), contact(2, 1, "Bob", "Ray")]
        tenant.cycle()
        for row in tenant.world.contacts:
            row["isActive"] = False
        tenant.cycle()
        label = CONTACTS.labels["job_title"]
        assert {values[label] for values in tenant.passportal.held("contact").values()} == {"left"}
        for row in tenant.world.contacts:
            row["isActive"] = True
        tenant.cycle()
        assert sorted(values[label] for values in tenant.passportal.held("contact").values()) == ["CEO", "staff"]


def many(tenant: MappedWorld, number: int) -> None:
    tenant.world.assets = [asset(n, 1, f"PC-{n}", f"SN-{n:04}") for n in range(1, number + 1)]
    tenant.map(FOLLOWS)
    tenant.cycle()


def test_a_bms_that_calls_everything_inactive_at_once_stops_at_the_breaker(tmp_path: Path) -> None:
    with mapped_world(tmp_path / "home") as tenant:
        many(tenant, 20)
        activate(tenant, *range(1, 21), active=False)
        plan = tenant.plan()
        assert (plan.operations, plan.held_back) == (20, 20)
        with tenant.world.warehouse.open() as connection, pytest.raises(BreakerOpen, match="20 of 20 matched assets"):
            check_breakers(connection, plan, read_sync_settings(connection))


def test_a_few_that_retire_each_week_stop_nothing(tmp_path: Path) -> None:
    with mapped_world(tmp_path / "home") as tenant:
        many(tenant, 40)
        for first in (1, 11, 21):
            activate(tenant, *range(first, first + 4), active=False)
            plan = tenant.plan()
            assert (plan.operations, plan.held_back) == (4, 0)
            tenant.world.load(tenant.target)
        assert [values.get("Status") for values in tenant.assets().values()].count("Inactive") == 12
