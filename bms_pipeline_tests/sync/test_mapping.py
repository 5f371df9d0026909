"""A person changes the mapping: told before, approved by hash, and no value goes where the plan did not show it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core.errors import PlanStale, PlanWaits, SettingsError
from bms_pipeline.load import apply
from bms_pipeline.reports import figures
from bms_pipeline.sync import planning
from bms_pipeline_tests.building import asset
from bms_pipeline_tests.sync.mapped import PLAIN, MappedWorld, mapped_world


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> MappedWorld:
    """Three assets, loaded under Passportal's labels; the template has two more labels."""
    home = tmp_path_factory.mktemp("loaded")
    with mapped_world(home, {"79": [*PLAIN, "IP-Adresse", "Zustand"], "212": ["IP-Adresse"]}) as tenant:
        tenant.world.assets = [
            asset(1, 1, "PC-1", "SN-1001", ipAddress="10.0.0.1", categoryName="Server"),
            asset(2, 1, "PC-2", "SN-1002", ipAddress="10.0.0.2", categoryName="Laptop"),
            asset(3, 1, "PC-3", "SN-1003", categoryName="Laptop"),
        ]
        tenant.cycle()
        assert tenant.plan().operations == 0
        tenant.finish()
        tenant.passportal.wrote.clear()
    return tenant


@pytest.fixture
def tenant(loaded: MappedWorld, tmp_path: Path) -> Iterator[MappedWorld]:
    with mapped_world(tmp_path / "home", like=loaded) as tenant:
        yield tenant


def test_another_label_is_filled_and_the_old_one_keeps_its_value(tenant: MappedWorld) -> None:
    tenant.map('[assets.fields]\nprimary_ip = "ip-adresse:"')
    plan = tenant.plan()
    assert {row.reason for row in tenant.operations().values() if row.changes} == {"mapping_changed"}
    tenant.finish()
    assert tenant.assets()["PC-1"]["IP-Adresse"] == "10.0.0.1", "written under the template's own spelling"
    assert tenant.assets()["PC-1"]["Primary IP"] == "10.0.0.1"
    assert {wrote.label for wrote in tenant.passportal.wrote} == {"IP-Adresse"}
    assert plan.operations == 2
    assert tenant.plan().operations == 0


def test_a_value_that_stands_under_the_new_label_is_kept(tenant: MappedWorld) -> None:
    tenant.document("PC-1").values["IP-Adresse"] = "192.168.0.1"
    foretold = tenant.foretell('[assets.fields]\nprimary_ip = "IP-Adresse"')
    (change,) = foretold.changes
    assert (change.filled, change.followed, change.overwritten, change.kept) == (1, 0, 0, 1)
    tenant.map('[assets.fields]\nprimary_ip = "IP-Adresse"')
    tenant.cycle()
    assert tenant.assets()["PC-1"]["IP-Adresse"] == "192.168.0.1"
    assert tenant.assets()["PC-2"]["IP-Adresse"] == "10.0.0.2"
    tenant.world.assets[0]["ipAddress"] = "10.0.0.9"
    assert tenant.plan().operations == 0, "nobody knows that it was ours"


def test_another_word_follows_where_we_wrote_and_nobody_touched(tenant: MappedWorld) -> None:
    tenant.document("PC-3").values["Type"] = "Notebook"  # a person's word
    toml = '[assets.fields]\ntype = { words = { "Laptop" = "Rechner" } }'
    (change,) = tenant.foretell(toml).changes
    assert (change.filled, change.followed, change.overwritten, change.kept) == (0, 1, 0, 1)
    tenant.map(toml)
    tenant.plan()
    laptop = tenant.operations()[2]
    assert (laptop.reason, laptop.changes) == ("mapping_changed", {"type": ("Laptop", "Rechner")})
    tenant.finish()
    assert [values["Type"] for values in tenant.assets().values()] == ["Server", "Rechner", "Notebook"]
    assert tenant.plan().operations == 0


def test_a_change_of_bms_after_the_mapping_changed_is_bms_and_no_mapping(tenant: MappedWorld) -> None:
    tenant.map('[assets.fields]\ntype = { words = { "Laptop" = "Rechner" } }')
    tenant.world.assets[0]["categoryName"] = "Laptop"
    tenant.plan()
    assert {bms_id: row.reason for bms_id, row in tenant.operations().items()} == {
        1: "bms_changed",
        2: "mapping_changed",
        3: "mapping_changed",
    }


def test_the_scope_goes_by_the_words_of_bms_and_not_by_ours(tenant: MappedWorld) -> None:
    tenant.map('[assets.fields]\ntype = { words = { "Laptop" = "Server", "Server" = "Rechner" } }')
    tenant.world.set("asset_categories", ["Server"])
    tenant.plan()
    assert {bms_id: row.operation for bms_id, row in tenant.operations().items()} == {1: "update", 2: "skip", 3: "skip"}


def test_a_field_left_out_is_neither_compared_nor_written_and_goes_on_where_it_was(tenant: MappedWorld) -> None:
    tenant.map("[assets.fields]\nprimary_ip = false")
    tenant.world.assets[0]["ipAddress"] = "10.0.0.99"
    tenant.document("PC-2").values["Primary IP"] = "a person's"
    plan = tenant.cycle()
    assert plan.operations == 0
    assert tenant.operations()[2].kept == {}
    tenant.world.assets[0]["categoryName"] = "Rack"
    tenant.cycle()
    tenant.map("")
    tenant.plan()
    assert tenant.operations()[1].changes == {"primary_ip": ("10.0.0.1", "10.0.0.99")}
    assert tenant.operations()[2].kept == {"primary_ip": ("10.0.0.2", "a person's")}


def test_a_field_that_was_left_out_in_between_is_new_under_another_label(tenant: MappedWorld) -> None:
    tenant.map("[assets.fields]\nprimary_ip = false")
    tenant.cycle()
    tenant.map('[assets.fields]\nprimary_ip = "IP-Adresse"')
    tenant.cycle()
    assert tenant.assets()["PC-1"]["IP-Adresse"] == "10.0.0.1"


def test_a_constant_fills_what_is_empty_and_overwrites_nothing(tenant: MappedWorld) -> None:
    tenant.document("PC-1").values["Status"] = "a person's"
    tenant.map('[assets.fields]\nstatus = { constant = "Managed" }')
    tenant.cycle()
    assert [values["Status"] for values in tenant.assets().values()] == ["a person's", "Managed", "Managed"]
    assert tenant.plan().operations == 0


def test_new_records_go_into_the_template_of_their_category_with_its_labels_only(tenant: MappedWorld) -> None:
    tenant.map(
        '[[assets.template]]\ncategory = ["rack  SERVER"]\ninto = 212\n'
        '[assets.only.212.fields]\nprimary_ip = "IP-Adresse"\ntype = false'
    )
    tenant.world.assets.append(asset(4, 1, "R-1", "SN-4", ipAddress="10.0.0.4", categoryName="Rack Server"))
    tenant.world.assets.append(asset(5, 1, "PC-5", "SN-5", ipAddress="10.0.0.5", categoryName="Laptop"))
    tenant.plan()
    new = tenant.operations()[4]
    assert set(new.changes) == {"name", "primary_ip"}
    tenant.finish()
    template = {document.title: document.template_id for document in tenant.passportal.documents.values()}
    assert (template["R-1"], template["PC-5"]) == ("212", "79")
    assert tenant.assets()["R-1"] == {"IP-Adresse": "10.0.0.4"}
    assert tenant.plan().operations == 0


def test_a_default_is_written_once_and_gives_way_to_a_value_of_bms(tenant: MappedWorld) -> None:
    tenant.map('[assets.fields]\nprimary_ip = { default = "none yet" }\nstatus = { default = "New" }')
    tenant.world.assets.append(asset(4, 1, "PC-4", "SN-4"))
    tenant.cycle()
    assert tenant.assets()["PC-4"] == {"Serial Number": "SN-4", "Primary IP": "none yet", "Status": "New"}
    assert "Status" not in tenant.assets()["PC-1"], "only in new records"
    assert tenant.plan().operations == 0
    tenant.world.assets[3]["ipAddress"] = "10.0.0.4"
    tenant.world.answer_details({4: {"state": "In Use"}})
    tenant.cycle()
    assert tenant.assets()["PC-4"] | {"Primary IP": "10.0.0.4", "Status": "In Use"} == tenant.assets()["PC-4"]


def test_no_record_is_created_without_a_required_value(tenant: MappedWorld) -> None:
    tenant.map("[assets.fields]\nprimary_ip = { required = true }")
    tenant.world.assets.append(asset(4, 1, "PC-4", "SN-4"))
    tenant.plan()
    assert (tenant.operations()[4].operation, tenant.operations()[4].reason) == ("skip", "required_value_missing")


# What was approved is what is sent


def test_the_hash_of_a_plan_says_under_which_labels_it_writes(tenant: MappedWorld) -> None:
    """F10: the same columns and values under other labels were the same plan."""
    tenant.world.assets[2]["ipAddress"] = "10.0.0.3"
    first = tenant.plan().hash
    tenant.map("[assets.fields]\nprimary_ip = { most = 250 }")
    assert tenant.plan().hash != first


def test_a_plan_approved_under_another_mapping_is_refused_also_where_its_operations_are_the_same(
    tenant: MappedWorld,
) -> None:
    """F10: the approved hash would have written to a label that the person never saw."""
    tenant.world.assets[2]["ipAddress"] = "10.0.0.3"
    plan = tenant.plan()
    tenant.map('[assets.only.212.fields]\nprimary_ip = "IP-Adresse"')
    with pytest.raises(PlanStale, match="the mapping changed since it was made"):
        tenant.world.approve(plan.hash, tenant.target)
    with pytest.raises(PlanStale, match="the mapping changed since it was made"):
        apply.check_approved(tenant.world.warehouse)
    assert tenant.passportal.wrote == []


def test_the_first_plan_after_a_change_waits_for_a_person_and_the_next_one_does_not(tenant: MappedWorld) -> None:
    tenant.map('[assets.fields]\nprimary_ip = "IP-Adresse"')
    tenant.plan()
    with pytest.raises(PlanWaits, match="the mapping changed since the last load"):
        tenant.world.load(tenant.target)
    assert tenant.passportal.wrote == []
    tenant.finish()
    tenant.world.assets[0]["ipAddress"] = "10.0.0.99"
    tenant.plan()
    tenant.world.load(tenant.target)
    assert tenant.assets()["PC-1"]["IP-Adresse"] == "10.0.0.99"


def test_no_breaker_counts_what_only_the_mapping_changed(tmp_path: Path) -> None:
    with mapped_world(tmp_path / "home") as tenant:
        tenant.world.assets = [asset(n, 1, f"PC-{n}", f"SN-10{n:02}", categoryName="Laptop") for n in range(1, 21)]
        tenant.cycle()
        tenant.map('[assets.fields]\ntype = { words = { "Laptop" = "Rechner" } }')
        plan = tenant.plan()
        assert (plan.operations, plan.held_back) == (20, 0)
        assert not isinstance(planning.why_not_loaded(tenant.world.warehouse), SettingsError)
        tenant.finish()


def test_no_mapping_is_stored_while_a_load_is_left_in_the_middle(tenant: MappedWorld) -> None:
    tenant.world.assets[2]["ipAddress"] = "10.0.0.3"
    plan = tenant.plan()
    tenant.world.approve(plan.hash, tenant.target)
    with tenant.world.warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO sync.journal BY NAME SELECT ? AS plan_id, 'assets' AS entity, 3 AS bms_id,"
            " 'update' AS operation, now()::TIMESTAMP AS intent_at",
            [plan.plan_id],
        )
    with pytest.raises(SettingsError, match="1 writes nobody knows yet"):
        tenant.map('[assets.fields]\nprimary_ip = "IP-Adresse"')
    with tenant.world.warehouse.transaction() as connection:
        connection.execute("UPDATE sync.journal SET outcome = 'refused' WHERE bms_id = 3")
    with pytest.raises(SettingsError, match="approved and loaded in part"):
        tenant.map('[assets.fields]\nprimary_ip = "IP-Adresse"')


# Undo


def test_undo_puts_back_only_where_the_load_wrote(tenant: MappedWorld) -> None:
    tenant.world.assets[0]["ipAddress"] = "10.0.0.99"
    tenant.world.assets[0]["categoryName"] = "Rack"
    loaded = tenant.cycle()
    tenant.map('[assets.fields]\nprimary_ip = "IP-Adresse"')
    tenant.cycle()
    before = tenant.assets()["PC-1"]
    undone = tenant.undo(loaded.plan_id)
    assert tenant.assets()["PC-1"] == {**before, "Type": "Server"}, "nothing under the new label"
    assert undone.operations == 1
    kept = tenant.world.query("SELECT kept FROM sync.operations WHERE entity = 'assets' AND bms_id = 1")
    assert [value["field"] for value in kept[0][0]] == ["primary_ip"]


def test_undo_of_the_first_plan_after_a_change_blanks_what_it_filled(tenant: MappedWorld) -> None:
    before = tenant.assets()
    tenant.map('[assets.fields]\nprimary_ip = "IP-Adresse"')
    loaded = tenant.cycle()
    tenant.undo(loaded.plan_id)
    assert tenant.assets() == before


# What is refused when it is stored


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('[assets.fields]\nprimary_ip = "IP Addresse"', "has exactly one field 'IP Addresse'"),
        ("[[assets.template]]\ninto = 400", "400 is no template of assets"),
        ("[assets.fields]\nserial_number = false", "decides which records are the same"),
        (
            '[assets.fields]\ntype = { words = { "Server" = "Rechner", "Laptop" = "Rechner" } }',
            "Server and Laptop would both be 'Rechner'",
        ),
        ("[assets.fields]\nstatus = { required = true }", "only after the record is in Passportal"),
    ],
)
def test_what_passportal_or_the_matching_speaks_against_is_refused_unless_meant(
    tenant: MappedWorld, toml: str, says: str
) -> None:
    with pytest.raises(SettingsError, match="was not stored") as error:
        tenant.map(toml)
    assert says in str(error.value)
    assert tenant.target.mapping.hash == ""
    assert [problem for problem in tenant.foretell(toml).problems if says in problem]
    tenant.map(toml, anyway=True)
    assert tenant.target.mapping.hash


def test_two_labels_of_a_template_that_read_alike_are_no_place(tmp_path: Path) -> None:
    with mapped_world(tmp_path / "home", {"79": [*PLAIN, "Zustand", "ZUSTAND:"]}) as tenant:
        tenant.world.assets = [asset(1, 1, "PC-1")]
        tenant.cycle()
        with pytest.raises(SettingsError, match="exactly one field 'Zustand'"):
            tenant.map('[assets.fields]\nstatus = "Zustand"')


def test_the_history_says_who_changed_the_mapping_and_why(tenant: MappedWorld) -> None:
    tenant.map("[assets.fields]\nasset_tag = false")
    (row,) = figures.settings_history(tenant.world.warehouse)
    assert (row["name"], row["changed_by"], row["why"]) == ("mapping", "a person", "a reason")
    assert tenant.map("[assets.fields]\nasset_tag = false\nmodel = {}").is_same
    assert len(figures.settings_history(tenant.world.warehouse)) == 1


def test_words_that_ask_are_listed_until_they_have_a_word(tenant: MappedWorld) -> None:
    tenant.map('[assets.fields]\ntype = { words = { "Laptop" = "Rechner" }, other = "ask" }')
    (word,) = tenant.foretell('[assets.fields]\ntype = { words = { "Laptop" = "Rechner" }, other = "ask" }').words
    assert (word.word, word.records) == ("Server", 1)
    tenant.cycle()
    assert tenant.assets()["PC-1"]["Type"] == "Server", "an absent word blanks nothing"


def test_texts_that_are_cut_are_counted(tenant: MappedWorld) -> None:
    foretold = tenant.foretell("[assets.fields]\ntype = { most = 5 }")
    assert [(cut.field, cut.records) for cut in foretold.cut] == [("type", 3)]
    assert tenant.foretell("[assets.fields]\ntype = { most = 6 }").cut == []


def test_a_try_stores_nothing_and_foretells_what_the_next_plan_does(tenant: MappedWorld) -> None:
    toml = '[assets.fields]\nprimary_ip = "IP-Adresse"\ntype = { words = { "Laptop" = "Rechner" } }'
    plan_before, rows = tenant.planned_hash(), tenant.world.query("FROM sync.base_assets ORDER BY ALL")
    foretold = tenant.foretell(toml)
    assert tenant.planned_hash() == plan_before
    assert tenant.world.query("FROM sync.base_assets ORDER BY ALL") == rows
    tenant.map(toml)
    tenant.plan()
    changes = [change for row in tenant.operations().values() for change in row.changes.items()]
    for change in foretold.changes:
        planned = [values for field, values in changes if field == change.field]
        assert change.filled == sum(before is None for before, _ in planned)
        assert change.followed == sum(before is not None for before, _ in planned)
        assert change.overwritten == 0
