"""A person maps keys of BMS that are no field, and texts for labels that no field has: read, written, undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.entities import ASSETS
from bms_pipeline.sync import enrichment
from bms_pipeline_tests.building import asset
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
