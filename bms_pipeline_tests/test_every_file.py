"""Every single file of a home folder, lost, cut or with one flipped bit: nothing unwanted, nothing lost, true words.

``docs/files.md`` has the table of what happens. Here a person does what each message advises, and nothing else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bms_pipeline import recovery, sync
from bms_pipeline.bms.budget import Budget
from bms_pipeline.errors import PipelineError, StorageRefused, WarehouseBusy
from bms_pipeline.warehouse.connection import Warehouse
from bms_pipeline_tests.building import World
from bms_pipeline_tests.test_recovery import loaded_home, log_of, restore, world
from bms_pipeline_tests.warehouse.test_connection import run as in_a_process

__all__ = ["loaded_home", "world"]

SMALL = (
    "budget.sqlite",
    "published.json",
    "progress.json",
    "run.lock",
    "run.owner.json",
    "landing/accounts/*/*.zst",
    "import_files/clients-20260101T000000-plan1.csv",
    "import_files/clients-20260101T000000-plan1.csv.json",
    "console_1.duckdb",
)
"""Files that hold nothing which only people know: one message at most, that of the budget."""
FILES = {
    "warehouse.duckdb": ("warehouse.duckdb",),
    "its log": ("warehouse.duckdb.wal",),
    "both": ("warehouse.duckdb", "warehouse.duckdb.wal"),
    "passportal.duckdb": ("passportal.duckdb",),
    "decisions.log": ("decisions.log",),
    "backups": ("backups/*.duckdb",),
    "small files": SMALL,
}

KILLED_IN_THE_MIDDLE = """
import os, sys
from pathlib import Path
from bms_pipeline import review
from bms_pipeline.reconcile.decisions import Decision
from bms_pipeline.warehouse.connection import Warehouse
warehouse = Warehouse(Path(sys.argv[1]))
with warehouse.open() as connection:
    connection.execute("SET checkpoint_threshold = '1GB'")
    review.decide(warehouse, [Decision("exclude", "contacts", 6)], "a person")
    os.kill(os.getpid(), 9)
"""


def delete(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    if content:
        content[len(content) // 2] ^= 4
    file.write_bytes(content)


def fill_in(world: World) -> None:
    """What a home has besides: the log of a killed process with a decision in it, and small files."""
    home = world.settings.bms_pipeline_home
    Budget(world.settings.budget_file, 1500).close()
    (home / "import_files").mkdir()
    for name in ("clients-20260101T000000-plan1.csv", "clients-20260101T000000-plan1.csv.json"):
        (home / "import_files" / name).write_text("{}" if name.endswith("json") else "Client Name\r\nX\r\n", "utf-8")
    (home / "console_1.duckdb").write_bytes(b"a copy of a console that was killed")
    (home / "progress.json").write_text("{}", encoding="utf-8")
    in_a_process(KILLED_IN_THE_MIDDLE, str(world.settings.warehouse_file))
    assert (home / "warehouse.duckdb.wal").exists()


def stopped_by(work: Callable[[], None]) -> PipelineError | None:
    """Do ``work``; the error that stopped it."""
    try:
        work()
    except PipelineError as error:
        return error
    return None


def as_advised(world: World, work: Callable[[], None], kept: Path) -> None:
    """Do ``work``; where it stops, do what the message advises and do it again."""
    home = world.settings.bms_pipeline_home
    for _ in range(4):
        error = stopped_by(work)
        if error is None:
            return
        assert not isinstance(error, WarehouseBusy | StorageRefused), "nobody holds it, and it may be read"
        if "bms-pipeline restore" in error.next_step:
            restore(world)
        elif "a copy of your own" in error.next_step:
            for each in home.glob("passportal.duckdb*"):
                each.unlink()
            shutil.copy(kept / "passportal.duckdb", world.settings.passportal_file)
        else:
            assert error.next_step.startswith("Delete it"), error
            for each in home.glob("budget.sqlite*"):
                each.unlink()
    raise AssertionError(error)


QUICK = {("warehouse.duckdb", delete), ("warehouse.duckdb", flip), ("its log", flip), ("small files", flip)}
CASES = [
    pytest.param(
        name, damage, marks=() if (name, damage) in QUICK else pytest.mark.soak, id=f"{name} {damage.__name__}"
    )
    for name in FILES
    for damage in (delete, cut, flip)
]


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_no_decision_is_lost_and_nothing_unwanted_is_created(
    world: World, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    fill_in(world)
    kept = tmp_path / "kept"
    shutil.copytree(world.settings.bms_pipeline_home, kept)
    reference = Warehouse(kept / "warehouse.duckdb")
    with reference.open() as connection:
        excluded = connection.execute("SELECT entity, bms_id FROM sync.exclusions ORDER BY ALL").fetchall()
        ledger = connection.execute("SELECT verb, entity, bms_id FROM sync.decisions ORDER BY ALL").fetchall()
    assert ("contacts", 6) in excluded
    for pattern in FILES[name]:
        (file, *_) = sorted(world.settings.bms_pipeline_home.glob(pattern))
        damage(file)

    def work() -> None:
        Budget(world.settings.budget_file, 1500).close()
        with sync.running(world.settings, "a run"):
            world.warehouse = Warehouse(world.settings.warehouse_file)
            world.plan()
            if not sync.waits_for_person(world.warehouse):
                sync.finish(world.settings)

    as_advised(world, work, kept)
    assert world.query("SELECT entity, bms_id FROM sync.exclusions ORDER BY ALL") == excluded
    assert world.query("SELECT verb, entity, bms_id FROM sync.decisions ORDER BY ALL") == ledger
    if name != "passportal.duckdb" or damage is not delete:
        titles = world.titles("contact")
        assert len(titles) == len(set(titles)), "nothing twice"
        assert "Ann Lee 5" not in titles
    recovery.back_up(world.settings, world.warehouse)
    assert log_of(world).exists() or name == "decisions.log"
