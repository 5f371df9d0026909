"""What only people know comes back after a loss: copies, the decision log, restore, and a start over."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bms_pipeline.core.entities import CLIENTS, CONTACTS, ENTITIES
from bms_pipeline.core.errors import (
    DecisionRefused,
    DecisionsMissing,
    PipelineError,
    PlanStale,
    PlanWaits,
    StorageFull,
    WarehouseDamaged,
    WarehouseError,
    WarehouseNewer,
)
from bms_pipeline.core.settings import Settings
from bms_pipeline.passportal.embedded import EmbeddedPassportal
from bms_pipeline.reconcile.decisions import Decision
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reports import figures
from bms_pipeline.sync import deciding, planning, recovery, run_lock
from bms_pipeline.warehouse import backups, decision_log, landing
from bms_pipeline.warehouse.connection import Warehouse, now
from bms_pipeline_tests.building import CLIENT_TYPE, World, account, contact, opened_world
from bms_pipeline_tests.running import called


def content() -> dict[str, Any]:
    """What BMS lists, and the two entities of it that are synced: each more costs as much and shows the same."""
    return {
        "entities": (CLIENTS, CONTACTS),
        "accounts": [account(1, "Acme"), account(2, "Beta"), account(3, "Gamma")],
        "contacts": [contact(each, 1 + each % 2, "Ann", f"Lee {each}") for each in range(1, 7)],
    }


@pytest.fixture(scope="module")
def loaded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder after its first finish, with two clients loaded and a client and a contact excluded."""
    home = tmp_path_factory.mktemp("loaded") / "home"
    with opened_world(home, **content()) as world:
        world.plan()
        world.create("clients", 1, 2)
        world.exclude("clients", 3)
        world.exclude("contacts", 5)
        world.finish_after_planning()
        run(world)
    return home


@pytest.fixture
def world(loaded_home: Path, tmp_path: Path) -> World:
    """That home, whose databases are opened and closed as in the product."""
    home = tmp_path / "home"
    shutil.copytree(loaded_home, home)
    settings = Settings(_env_file=None, bms_pipeline_home=home)  # type: ignore[call-arg]
    passportal = EmbeddedPassportal(settings.passportal_file)
    return World(settings, Warehouse(settings.warehouse_file), passportal, **content(), sweeps=50)


def run(world: World) -> None:
    """A run that does nothing but begin and end."""
    with run_lock.running(world.settings, "a run"):
        pass


def log_of(world: World) -> Path:
    return decision_log.file_of(world.settings.warehouse_file)


def copies(world: World) -> list[Path]:
    return sorted(backups.backups_folder(world.settings.warehouse_file).glob("*.duckdb"))


def lose_the_database(world: World) -> None:
    world.settings.warehouse_file.unlink()


def restore(world: World) -> recovery.Restored:
    done = recovery.restore(world.settings, recovery.find_restorable(world.settings))
    world.warehouse = Warehouse(world.settings.warehouse_file)
    return done


# The decision log


def test_a_decision_is_in_the_log_before_it_is_answered_and_only_its_owner_may_read_it(world: World) -> None:
    before = decision_log.last_number(log_of(world))
    world.exclude("contacts", 6)
    log = decision_log.read_log(log_of(world))
    assert log.problems == []
    assert log.entries[-1]["number"] == before + 1
    assert [(each["entity"], each["bms_id"]) for each in log.entries[-1]["exclusions"]] == [("contacts", 6)]
    assert stat.S_IMODE(log_of(world).stat().st_mode) == 0o600


def test_every_verb_of_a_person_leaves_a_line(world: World) -> None:
    def lines(work: object) -> int:
        before = len(decision_log.read_log(log_of(world)).entries)
        assert callable(work)
        work()
        return len(decision_log.read_log(log_of(world)).entries) - before

    assert lines(lambda: world.exclude("contacts", 6)) == 1
    assert lines(lambda: world.include("contacts", 6)) == 1
    assert lines(lambda: world.unmatch("contacts", 1)) == 1
    assert lines(lambda: deciding.change_settings(world.warehouse, {"sync.users": "off"}, "a person")) == 1
    assert lines(lambda: deciding.plan_undo(world.warehouse, 2)) == 1
    assert lines(lambda: world.plan()) == 0
    assert lines(lambda: world.approve(planning.current_plan(world.warehouse).hash)) == 1


def test_a_trial_a_refusal_and_a_transaction_that_fails_leave_no_line(world: World) -> None:
    content = log_of(world).read_bytes()
    deciding.decide(world.warehouse, [Decision("exclude", "contacts", 6)], "a person", dry_run=True)
    with pytest.raises(DecisionRefused):
        world.say(Decision("match", "contacts", 6, "P999"))

    def fail() -> None:
        with world.warehouse.transaction() as connection:
            connection.execute("INSERT INTO sync.exclusions VALUES ('contacts', 6, '', 'x', NULL)")
            connection.execute("INSERT INTO sync.decisions (batch) VALUES (99)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert log_of(world).read_bytes() == content


def test_half_a_line_is_cut_off_and_the_next_one_says_so(world: World, caplog: pytest.LogCaptureFixture) -> None:
    whole = log_of(world).read_bytes()
    log_of(world).write_bytes(whole + b'{"checksum":"12')
    assert any("half a line" in each for each in decision_log.read_log(log_of(world)).problems)
    world.exclude("contacts", 6)
    log = decision_log.read_log(log_of(world))
    assert log.problems == []
    assert log.entries[-1]["cut_off"] == 15
    assert "half a line" in caplog.text


def test_a_damaged_line_is_named_by_its_number_and_all_others_count(world: World) -> None:
    world.exclude("contacts", 6)
    lines = log_of(world).read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"a person", b"b person")
    log_of(world).write_bytes(b"".join(lines))
    log = decision_log.read_log(log_of(world))
    assert [each for each in log.problems if "line 2 of" in each]
    assert len(log.entries) == len(lines) - 1


def test_a_full_disk_at_the_log_says_that_the_decision_stands_and_the_next_run_makes_a_copy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageFull, match=r"The decision is stored in .* second copy could not be added"):
            world.exclude("contacts", 6)
    assert decision_log.read_log(log_of(world)).problems == []
    run(world)
    assert recovery.list_copies(world.settings)[0].exclusions == 3


# Copies


def test_a_run_that_changed_something_leaves_a_verified_copy_and_one_that_did_not_leaves_none(world: World) -> None:
    (copy,) = copies(world)
    held = backups.inspect(copy)
    assert (held.problem, held.matches, held.exclusions) == ("", len(world.lasting()["matches"]), 2)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    run(world)
    assert copies(world) == [copy]


def test_a_run_that_ends_in_an_error_leaves_a_copy_too(world: World) -> None:
    world.contacts.append(contact(9, 1, "New", "Person"))

    def fail() -> None:
        with run_lock.running(world.settings, "a run"):
            world.plan()
            world.finish()
            raise PipelineError("later")

    with pytest.raises(PipelineError, match="later"):
        fail()
    assert len(copies(world)) == 2


def test_while_people_decide_a_copy_is_made_every_ten_minutes_at_most(world: World) -> None:
    with world.warehouse.open() as connection:
        begun = now()
        world.exclude("contacts", 6)
        assert backups.make_if_due(connection, world.settings.warehouse_file, begun) is None
        later = begun + backups.AT_MOST_EVERY
        assert backups.make_if_due(connection, world.settings.warehouse_file, later) is not None
        assert backups.make_if_due(connection, world.settings.warehouse_file, later) is None


def test_a_few_copies_are_kept(world: World) -> None:
    with world.warehouse.open() as connection:
        for number in range(1, 6):
            world.exclude("contacts", 6) if number % 2 else world.include("contacts", 6)
            backups.make_if_due(connection, world.settings.warehouse_file, now() + number * backups.AT_MOST_EVERY)
    assert len(copies(world)) == backups.KEPT


def test_a_copy_that_cannot_be_made_fails_no_run_and_status_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = backups.backups_folder(world.settings.warehouse_file)
    shutil.rmtree(folder)
    folder.write_text("a file where the folder should be", encoding="utf-8")
    run(world)
    status = figures.status(world.settings, world.warehouse)
    assert "File exists" in status.backups.problem
    assert any("No copy of people's decisions" in each for each in status.warnings)


def test_backup_makes_a_whole_copy_and_never_overwrites(world: World, tmp_path: Path) -> None:
    file = tmp_path / "mine.duckdb"
    made = recovery.back_up(world.settings, world.warehouse, file)
    assert made.is_whole
    assert made.problem == ""
    with pytest.raises(PipelineError, match="is there already"):
        recovery.back_up(world.settings, world.warehouse, file)


def test_a_copy_with_one_flipped_bit_is_listed_as_damaged(world: World) -> None:
    (copy,) = copies(world)
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    (listed,) = recovery.list_copies(world.settings)
    assert listed.problem


# Restore


@pytest.mark.parametrize("since", ["nothing", "decisions"])
def test_restore_brings_back_all_that_people_decided(world: World, since: str) -> None:
    if since == "decisions":
        world.exclude("contacts", 6)
        world.unmatch("contacts", 1)
        deciding.change_settings(world.warehouse, {"auto_create.locations": "off"}, "a person", "tidy")
    before, settings = world.lasting(), figures.sync_settings(world.warehouse)
    ledger = world.query("SELECT verb, entity, bms_id, decided_by FROM sync.decisions ORDER BY ALL")
    history = world.query("FROM sync.settings_history ORDER BY ALL")
    lose_the_database(world)
    restore(world)
    assert world.lasting() == before
    assert figures.sync_settings(world.warehouse) == settings
    assert world.query("SELECT verb, entity, bms_id, decided_by FROM sync.decisions ORDER BY ALL") == ledger
    assert world.query("FROM sync.settings_history ORDER BY ALL") == history
    titles = world.titles("contact")
    world.plan()
    world.finish_after_planning()
    assert sorted(world.titles("contact")) == sorted(titles), "nothing excluded is created, nothing comes twice"


def test_restore_works_from_the_log_alone(world: World) -> None:
    world.exclude("contacts", 6)
    before = world.lasting()
    lose_the_database(world)
    shutil.rmtree(backups.backups_folder(world.settings.warehouse_file))
    restore(world)
    after = world.lasting()
    assert (after["exclusions"], after["non_matches"]) == (before["exclusions"], before["non_matches"])
    world.plan()
    assert world.lasting()["exclusions"] == before["exclusions"]


def test_restore_takes_the_newest_good_copy_and_says_which_one_it_passed_over(world: World) -> None:
    world.contacts.append(contact(9, 1, "New", "Person"))
    with run_lock.running(world.settings, "a run"):
        world.plan()
        world.finish()
    newest = copies(world)[-1]
    os.truncate(newest, newest.stat().st_size // 2)
    found = recovery.find_restorable(world.settings)
    assert found.copy is not None
    assert found.copy.file == copies(world)[0]
    assert any(str(newest) in each for each in found.problems)


def test_restore_moves_the_database_and_its_log_aside_and_deletes_nothing(world: World) -> None:
    file = world.settings.warehouse_file
    log = file.with_name(f"{file.name}.wal")
    file.write_bytes(b"damaged")
    log.write_bytes(b"of the damaged one")
    with pytest.raises(WarehouseDamaged, match="restore"), Warehouse(file).open():
        pass
    moved = restore(world).moved
    assert sorted(each.read_bytes() for each in moved) == [b"damaged", b"of the damaged one"]
    assert not log.exists()


def test_a_database_that_misses_decisions_stops_every_run_and_restore_heals_it(world: World) -> None:
    """An older copy that somebody put into its place, a new one, or one whose log was cut."""
    older = world.settings.warehouse_file.read_bytes()
    world.exclude("contacts", 6)
    before = world.lasting()
    for content in (older, None):
        world.settings.warehouse_file.unlink()
        if content is not None:
            world.settings.warehouse_file.write_bytes(content)
        with pytest.raises(DecisionsMissing, match="restore"):
            run(world)
        warnings = figures.status(world.settings, Warehouse(world.settings.warehouse_file)).warnings
        assert any("bms-pipeline restore" in each for each in warnings)
        restore(world)
        assert world.lasting() == before
        run(world)


def test_a_plan_from_before_the_loss_cannot_be_loaded(world: World) -> None:
    world.contacts.append(contact(9, 1, "New", "Person"))
    plan = world.plan()
    world.exclude("contacts", 6)
    lose_the_database(world)
    restore(world)
    with pytest.raises(PlanStale):
        world.approve(plan.hash)
    with pytest.raises(PipelineError):
        world.load()


def test_restore_refuses_a_copy_of_a_newer_version(world: World) -> None:
    (copy,) = copies(world)
    with contextlib.closing(duckdb.connect(str(copy))) as connection:
        connection.execute("INSERT INTO main.migrations VALUES (9999, '9999_later.sql', now()::TIMESTAMP)")
        connection.execute("UPDATE main.copied SET rows = rows + 1, hash = (SELECT sum(hash(t)) FROM migrations t)"
                           " WHERE name = 'main.migrations'")  # fmt: skip
    with pytest.raises(WarehouseNewer):
        recovery.restore(world.settings, recovery.find_restorable(world.settings, copy))
    assert world.lasting()["exclusions"]


def test_nothing_to_restore_is_said_with_what_is_left_to_do(world: World) -> None:
    shutil.rmtree(backups.backups_folder(world.settings.warehouse_file))
    log_of(world).unlink()
    with pytest.raises(WarehouseError, match="bms-pipeline rebuild"):
        recovery.find_restorable(world.settings)


# A new database next to a Passportal that this program loaded


def lose_everything(world: World) -> None:
    lose_the_database(world)
    log_of(world).unlink()
    shutil.rmtree(backups.backups_folder(world.settings.warehouse_file))


def test_a_new_database_that_meets_our_own_markers_stops_before_it_plans(world: World) -> None:
    lose_everything(world)
    titles = world.content()
    with pytest.raises(DecisionsMissing, match="bms-pipeline rebuild"):
        world.plan()
    assert world.content() == titles


def test_after_a_rebuild_nothing_is_created_until_a_person_finishes_a_plan_by_its_hash(world: World) -> None:
    lose_everything(world)
    titles = world.content()
    world.entities = ENTITIES  # nothing but a whole plan ends it
    recovery.rebuild(world.settings)
    world.warehouse = Warehouse(world.settings.warehouse_file)
    with world.warehouse.transaction() as connection:
        landing.land_account_types(connection, [(CLIENT_TYPE, "Client", True, False, True)])
    assert figures.status(world.settings, world.warehouse).rebuilding_since
    world.plan()
    with pytest.raises(PlanWaits):
        world.load()
    with pytest.raises(PlanWaits, match="excluded"):
        planning.approve_unseen(world.settings, world.warehouse, world.passportal, "a person")
    with pytest.raises(PlanWaits, match="excluded"):
        planning.reconcile(world.warehouse, world.synced[0], Scope(), create_unmatched_by="a person")
    assert world.content() == titles
    world.exclude("contacts", 5)
    world.exclude("clients", 3)
    world.plan()
    world.finish()
    assert sorted(world.titles("contact")) == sorted(each.title for each in titles if each.type == "contact")
    assert figures.status(world.settings, world.warehouse).rebuilding_since is None
    planning.reconcile(world.warehouse, world.synced[0], Scope(), create_unmatched_by="a person")


def test_rebuild_moves_database_log_and_copies_aside(world: World) -> None:
    content = log_of(world).read_bytes()
    moved = recovery.rebuild(world.settings)
    assert {each.name.split(".")[0] for each in moved} == {"warehouse", "decisions", "backups"}
    assert next(each for each in moved if each.name.startswith("decisions")).read_bytes() == content
    run(world)


# Versions


def test_a_newer_database_is_refused_by_the_name_of_its_version_and_not_touched(world: World) -> None:
    file = world.settings.warehouse_file
    with contextlib.closing(duckdb.connect(str(file))) as connection:
        connection.execute("INSERT INTO main.migrations VALUES (9999, '9999_later.sql', now()::TIMESTAMP)")
        connection.execute("INSERT INTO main.writers VALUES ('99.1', now()::TIMESTAMP + INTERVAL 1 DAY)")
    content = file.read_bytes()
    with pytest.raises(WarehouseNewer, match=r"bms-pipeline 99\.1"):
        run(world)
    assert file.read_bytes() == content


def test_before_a_migration_a_whole_copy_is_made_and_kept(world: World) -> None:
    before = world.lasting()
    with contextlib.closing(duckdb.connect(str(world.settings.warehouse_file))) as connection:
        connection.execute(
            "DELETE FROM main.migrations WHERE number = 7; DROP TABLE main.writers; DROP TABLE sync.logged"
        )
    log_of(world).unlink()
    with Warehouse(world.settings.warehouse_file).open():
        pass
    (copy,) = backups.backups_folder(world.settings.warehouse_file).glob("before-0007-*.duckdb")
    held = backups.inspect(copy)
    assert held.is_whole
    assert held.problem == ""
    assert held.exclusions == len(before["exclusions"])


def test_the_log_is_json_lines_with_a_checksum(world: World) -> None:
    for line in log_of(world).read_text(encoding="utf-8").splitlines():
        assert json.loads(line).keys() == {"checksum", "entry"}


# The commands


def command(world: World, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``bms-pipeline`` on this home."""
    home = world.settings.bms_pipeline_home
    environment = {"PATH": os.environ["PATH"], "BMS_PIPELINE_HOME": str(home), "COLUMNS": "200"}
    return called(*arguments, environment=environment, folder=home.parent, answer=answer)


def test_a_person_lists_makes_and_puts_back_copies_by_command(world: World, tmp_path: Path) -> None:
    world.exclude("contacts", 6)
    before = world.lasting()
    assert command(world, "backup", str(tmp_path / "mine.duckdb")).returncode == 0
    (listed,) = json.loads(command(world, "backups", "--json").stdout)
    assert (listed["good"], listed["exclusions"]) == (True, 2)
    lose_the_database(world)
    asked = command(world, "restore", answer="n\n")
    assert asked.returncode == 130
    assert "The log adds 1 lines with 1 decisions since." in asked.stdout
    assert not world.settings.warehouse_file.exists(), "a person who says no changes nothing"
    done = command(world, "restore", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"Back: {len(before['matches'])} matches, 3 exclusions" in done.stdout
    assert world.lasting() == before


def test_a_person_starts_over_by_command_and_is_shown_what_restore_would_bring(world: World) -> None:
    done = command(world, "rebuild", "--yes")
    assert done.returncode == 0, done.stderr
    assert "`bms-pipeline restore` would bring back" in done.stdout
    assert "Moved aside" in done.stdout
    shown = json.loads(command(world, "status", "--json").stdout)
    assert shown["rebuilding_since"]
