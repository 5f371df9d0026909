"""A person maps keys of BMS that are no field, and texts for labels that no field has: read, written, undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.entities import ASSETS, CONTACTS_LIST
from bms_pipeline.core.errors import LandingError
from bms_pipeline.sync import deciding, enrichment, extraction, recovery
from bms_pipeline.sync.mapping import Reading
from bms_pipeline_tests.building import asset, contact
from bms_pipeline_tests.sync.mapped import PLAIN, MappedWorld, mapped_world

LISTED = '[assets.fields]\nmachineGroupId = "Group"'
DETAILED = '[assets.fields]\n"detail.locationInfo" = "Rack"'
CONSTANT = '[assets.constants]\n"Management" = "Managed"'


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> MappedWorld:
    """Two assets, loaded; the template has labels that no field has."""
    with mapped_world(tmp_path_factory.mktemp("loaded"), {"79": [*PLAIN, "Group", "Rack", "Management"]}) as tenant:
        tenant.world.assets = [
            asset(1, 1, "PC-1", "SN-1001", machineGroupId="north"),
            asset(2, 1, "PC-2", "SN-1002", machineGroupId=None),
        ]
        tenant.cycle()
        tenant.world.answer_details({number: {"state": "In Use", "locationInfo": "R1"} for number in (1, 2)})
        tenant.cycle()
        assert tenant.plan().operations == 0
        tenant.finish()
        tenant.passportal.wrote.clear()
    return tenant


@pytest.fixture
def tenant(loaded: MappedWorld, tmp_path: Path) -> Iterator[MappedWorld]:
    with mapped_world(tmp_path / "home", like=loaded) as tenant:
        yield tenant


def test_a_key_of_the_list_is_read_planned_and_written_under_its_label(tenant: MappedWorld) -> None:
    tenant.map(LISTED)
    plan = tenant.plan()
    row = tenant.operations()[1]
    assert (plan.operations, row.reason) == (1, "mapping_changed")
    assert row.changes == {"list_machine_group_id": (None, "north")}
    tenant.finish()
    assert tenant.assets()["PC-1"]["Group"] == "north"
    assert tenant.plan().operations == 0
    tenant.finish()
    tenant.world.assets[0]["machineGroupId"] = "south"
    tenant.plan()
    assert tenant.operations()[1].reason == "bms_changed"
    tenant.finish()
    assert tenant.assets()["PC-1"]["Group"] == "south"


def test_a_key_of_the_detail_is_written_once_it_was_read(tenant: MappedWorld) -> None:
    tenant.map(DETAILED)
    assert tenant.plan().operations == 0, "the details that were read before did not have it"
    tenant.finish()
    tenant.world.answer_details({1: {"locationInfo": "R1"}, 2: {"locationInfo": None}})
    tenant.cycle()
    assert tenant.assets()["PC-1"]["Rack"] == "R1"
    assert "Rack" not in tenant.assets()["PC-2"]
    assert tenant.plan().operations == 0


def test_a_value_of_a_person_stays_also_where_the_key_is_read_later(tenant: MappedWorld) -> None:
    tenant.document("PC-1").values |= {"Rack": "my rack", "Group": "my group"}
    tenant.map(DETAILED + '\nmachineGroupId = "Group"')
    tenant.cycle()
    tenant.world.assets[0]["serialNumber"] = "SN-9"  # another load in between
    tenant.cycle()
    tenant.world.answer_details({1: {"locationInfo": "R1"}})
    tenant.cycle()
    assert (tenant.assets()["PC-1"]["Rack"], tenant.assets()["PC-1"]["Group"]) == ("my rack", "my group")
    assert tenant.plan().operations == 0


def test_a_constant_fills_a_label_that_no_field_has_and_overwrites_nothing(tenant: MappedWorld) -> None:
    tenant.document("PC-2").values["Management"] = "ourselves"
    tenant.map(CONSTANT)
    plan = tenant.cycle()
    assert [values["Management"] for values in tenant.assets().values()] == ["Managed", "ourselves"]
    assert tenant.plan().operations == 0
    tenant.undo(plan.plan_id)
    assert "Management" not in tenant.assets()["PC-1"]


def test_a_new_record_has_its_keys_and_constants_at_once(tenant: MappedWorld) -> None:
    tenant.map(LISTED + "\n" + CONSTANT)
    tenant.cycle()
    tenant.world.assets.append(asset(3, 1, "PC-3", "SN-1003", machineGroupId="west"))
    tenant.cycle()
    assert tenant.assets()["PC-3"]["Group"] == "west"
    assert tenant.assets()["PC-3"]["Management"] == "Managed"
    assert tenant.plan().operations == 0


@pytest.mark.parametrize("toml", [LISTED, CONSTANT])
def test_undo_blanks_what_an_added_field_filled(tenant: MappedWorld, toml: str) -> None:
    before = tenant.assets()
    tenant.map(toml)
    plan = tenant.cycle()
    assert tenant.assets() != before
    tenant.undo(plan.plan_id)
    assert tenant.assets() == before


def test_undo_lists_what_has_no_place_any_more_as_kept(tenant: MappedWorld) -> None:
    tenant.map(LISTED)
    plan = tenant.cycle()
    tenant.map("")
    tenant.cycle()
    tenant.undo(plan.plan_id)
    assert tenant.assets()["PC-1"]["Group"] == "north"
    ((kept,),) = tenant.world.query("SELECT kept[1].field FROM sync.planned_assets WHERE kept IS NOT NULL")
    assert kept == "list_machine_group_id"


def test_a_rare_key_that_nobody_has_any_more_does_not_stop_the_landing(tenant: MappedWorld) -> None:
    more = [asset(number, 1, f"PC-{number}", f"SN-10{number}") for number in range(10, 70)]
    tenant.world.assets += [{**row, "machineGroupId": None} for row in more]
    tenant.map(LISTED)
    tenant.cycle()
    for row in tenant.world.assets:
        row.pop("machineGroupId", None)
    assert tenant.plan().operations == 0
    assert tenant.world.query("SELECT list_machine_group_id FROM bms.assets WHERE bms_id = 1") == [("north",)]


def test_a_key_that_was_taken_out_is_not_written_and_comes_back(tenant: MappedWorld) -> None:
    tenant.map(LISTED)
    tenant.cycle()
    tenant.map("")
    tenant.world.assets[0]["machineGroupId"] = "south"
    assert tenant.plan().operations == 0
    tenant.finish()
    assert tenant.assets()["PC-1"]["Group"] == "north", "the label keeps its value"
    tenant.map(LISTED)
    tenant.cycle()
    assert tenant.plan().operations == 0


def test_a_list_that_is_asked_for_changes_is_read_whole_once_for_a_new_key(tenant: MappedWorld) -> None:
    def since() -> str | None:
        return extraction._watermark(tenant.world.warehouse, CONTACTS_LIST)

    tenant.world.contacts = [contact(5, 1, "Ann", "Lee", modifiedOn="2026-01-01T00:00:00")]
    tenant.cycle()
    assert since() is not None
    toml = '[contacts.fields]\nlocationId = "Site number"'
    assert list(tenant.foretell(toml).lists) == ["contacts"]
    tenant.map(toml)
    assert since() is None
    tenant.cycle()
    assert since() is not None, "also where BMS does not send the key"


@pytest.mark.parametrize(
    ("sent", "written"),
    [("R2", "R2"), (7, "7"), (2.5, "2.5"), (True, "true"), (" ", None), (None, None)],
)
def test_a_single_value_of_any_kind_is_taken_as_text(tenant: MappedWorld, sent: object, written: str | None) -> None:
    tenant.world.assets[0]["machineGroupId"] = sent
    tenant.map(LISTED)
    tenant.plan()
    changes = tenant.operations()[1].changes
    assert changes.get("list_machine_group_id", (None, None))[1] == written


def test_yes_and_no_and_days_are_written_as_the_own_fields_are(tenant: MappedWorld) -> None:
    keys = {"isActive": "Group", "detail.lastReboot": "Rack"}
    tenant.map("[assets.fields]\n" + "\n".join(f'"{key}" = "{label}"' for key, label in keys.items()))
    tenant.world.answer_details({1: {"lastReboot": "2026-03-04T10:00:00"}})
    tenant.cycle()
    assert (tenant.assets()["PC-1"]["Group"], tenant.assets()["PC-1"]["Rack"]) == ("Yes", "2026-03-04")


def test_a_list_or_an_object_under_a_key_stops_the_landing_by_name(tenant: MappedWorld) -> None:
    tenant.world.assets[0]["machineGroupId"] = ["north"]
    tenant.cycle()  # nobody reads it
    tenant.map(LISTED)
    with pytest.raises(LandingError, match="machineGroupId is ARRAY"):
        tenant.plan()


def test_a_try_says_what_a_key_costs_and_stores_nothing(tenant: MappedWorld) -> None:
    foretold = tenant.foretell(DETAILED)
    assert foretold.details == {"assets": Reading(2, 1)}
    assert foretold.lists == {}
    (change,) = foretold.changes
    assert (change.field, change.is_unread) == ("detail_location_info", True)
    assert tenant.plan().operations == 0


def test_a_person_decides_who_owns_an_added_field(tenant: MappedWorld) -> None:
    tenant.document("PC-1").values["Group"] = "my group"
    tenant.map(LISTED)
    deciding.change_settings(tenant.world.warehouse, {"owner.assets.machineGroupId": "bms_wins"}, "a person")
    tenant.cycle()
    assert tenant.assets()["PC-1"]["Group"] == "north"


def test_a_restored_home_goes_on_with_its_added_fields(tenant: MappedWorld) -> None:
    tenant.map(LISTED + "\n" + CONSTANT)
    tenant.cycle()
    recovery.back_up(tenant.world.settings, tenant.world.warehouse)
    recovery.restore(tenant.world.settings, recovery.find_restorable(tenant.world.settings))
    assert tenant.plan().operations == 0, tenant.operations()


def test_details_are_read_again_for_a_new_key_after_all_that_wait_for_their_first(tenant: MappedWorld) -> None:

    def waiting() -> list[int]:
        with tenant.world.warehouse.open() as connection:
            return enrichment.waiting_details(connection, ASSETS, set())

    assert waiting() == []
    tenant.world.assets.append(asset(3, 1, "PC-3", "SN-1003"))
    tenant.cycle()
    tenant.map(DETAILED)
    assert waiting() == [3, 1, 2]
    tenant.world.answer_details({number: {"locationInfo": None} for number in (1, 2, 3)})
    tenant.cycle()
    assert waiting() == []
