"""A person lets old labels be blanked: only where a load wrote what stands there; planned and undone as any write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.sync import mapping
from bms_pipeline.sync.mapping import Foretold
from bms_pipeline_tests.building import asset
from bms_pipeline_tests.sync.mapped import PLAIN, MappedWorld, mapped_world


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> MappedWorld:
    """Three assets whose address moved to another label; a person changed the old one of the second."""
    with mapped_world(tmp_path_factory.mktemp("loaded"), {"79": [*PLAIN, "IP-Adresse", "Group"]}) as tenant:
        tenant.world.assets = [
            asset(number, 1, f"PC-{number}", f"SN-100{number}", ipAddress=f"10.0.0.{number}") for number in (1, 2, 3)
        ]
        tenant.passportal.enter("asset", "PC-3", "client-1", "79", Primary_IP="10.0.0.3", Serial_Number="SN-1003")
        tenant.cycle()
        tenant.map('[assets.fields]\nprimary_ip = "IP-Adresse"')
        tenant.cycle()
        tenant.document("PC-2").values["Primary IP"] = "a person's"
        assert tenant.plan().operations == 0
        tenant.finish()
    return tenant


@pytest.fixture
def tenant(loaded: MappedWorld, tmp_path: Path) -> Iterator[MappedWorld]:
    with mapped_world(tmp_path / "home", like=loaded) as tenant:
        yield tenant


def clear(tenant: MappedWorld, *, dry_run: bool = False) -> Foretold:
    with tenant.passportal.opened_by_the_product():
        return mapping.clear_old(tenant.world.settings, tenant.world.warehouse, "a person", dry_run=dry_run)


def old_texts(tenant: MappedWorld) -> list[str | None]:
    return [tenant.assets()[f"PC-{number}"].get("Primary IP") for number in (1, 2, 3)]


def test_only_what_a_load_wrote_and_nobody_touched_is_blanked_and_an_undo_brings_it_back(tenant: MappedWorld) -> None:
    (change,) = clear(tenant, dry_run=True).changes
    assert (change.label, change.followed, change.overwritten, change.filled) == ("Primary IP", 1, 0, 0)
    assert tenant.plan().operations == 0, "a try stores nothing"
    tenant.finish()
    clear(tenant)
    plan = tenant.plan()
    row = tenant.operations()[1]
    assert (plan.operations, row.reason) == (1, "mapping_changed")
    blanked: dict[str, tuple[str | None, str | None]] = {"cleared_primary_ip": ("10.0.0.1", None)}
    assert dict(row.changes) == blanked
    tenant.finish()
    assert old_texts(tenant) == [None, "a person's", "10.0.0.3"]
    assert tenant.assets()["PC-1"]["IP-Adresse"] == "10.0.0.1"
    assert tenant.plan().operations == 0
    tenant.finish()
    tenant.undo(plan.plan_id)
    assert old_texts(tenant) == ["10.0.0.1", "a person's", "10.0.0.3"]
    assert tenant.plan().operations == 0, "what a person took back is not blanked again"


def test_labels_of_constants_and_of_fields_left_out_are_not_offered(tenant: MappedWorld) -> None:
    tenant.map('[assets.fields]\nprimary_ip = "IP-Adresse"\n[assets.constants]\nGroup = "all"')
    tenant.cycle()
    tenant.map('[assets.fields]\nprimary_ip = "IP-Adresse"\nserial_number = false', anyway=True)
    (old,) = mapping.old_labels(tenant.world.warehouse)
    assert (old.field, old.label, old.records) == ("primary_ip", "Primary IP", 2)


def test_a_text_that_a_person_enters_later_stays_also_where_it_is_the_same(tenant: MappedWorld) -> None:
    clear(tenant)
    tenant.cycle()
    tenant.document("PC-1").values["Primary IP"] = "10.0.0.1"
    assert tenant.plan().operations == 0


def test_a_mapping_that_clears_is_exported_and_taken_out_again(tenant: MappedWorld) -> None:
    clear(tenant)
    stored = mapping.current_mapping(tenant.world.warehouse)
    assert '[assets.cleared]\n"Primary IP" = "primary_ip"' in stored.as_toml()
    tenant.map('[assets.fields]\nprimary_ip = "IP-Adresse"')
    assert tenant.plan().operations == 0
    tenant.finish()
    assert old_texts(tenant)[0] == "10.0.0.1"
