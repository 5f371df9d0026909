"""Every single file of a home folder lost, cut, emptied or with one flipped bit: nothing unwanted, nothing lost.

The files are those that are really there after real runs, and ``docs/files.md`` is their list: a file that no row of
its table names fails here by name. After each damage a person runs the next ``sync``, does what each message advises,
and nothing else.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import requests

from bms_pipeline.core.entities import ASSETS_LIST
from bms_pipeline_tests.end_to_end.test_kill import import_path
from bms_pipeline_tests.running import Home
from bms_pipeline_tests.strikes import tiny
from bms_sandbox.process import running_passportal, running_sandbox

Target = Literal["embedded", "documents_api"]
Damage = Callable[[Path], None]

DOCS = Path(__file__).parents[1] / "docs" / "files.md"
OWN_COPY = ("passportal.duckdb", "passportal.duckdb.wal")
"""What only a copy of one's own brings back."""

ELSEWHERE = {
    "calls/*.log": "load/test_portions.py",
    ".*.duckdb.*.new": "passportal/test_embedded.py",
    ".*.duckdb.*.new.wal": "passportal/test_embedded.py",
    "passportal.duckdb.wal": "strikes (writes that are torn, and that fail)",
    ".progress.json.*": "strikes (kills around each durable step)",
    "landing/*/*/progress.ndjson": "bms/test_sweep.py",
    "guard/used/*": "guard/test_store.py",
    "guard/open/*.html": "nobody: only a browser reads it, once",
    "dagster/": "test_a_dagster_database_that_is_damaged_is_named",
}
"""Files that these homes do not have when a command has ended, and the tests that damage them."""

OPENED = ("warehouse.duckdb", "passportal.duckdb", "backups/", "decisions.log")
"""What decides whether a database can be opened, or is put back: each process has to open and close it itself."""

KILLED_IN_SYNC = """
import os, sys
from bms_pipeline.cli import app
from bms_pipeline.passportal.documents.memory import RememberedDocuments
from bms_pipeline.passportal.embedded import EmbeddedPassportal

def die(*_):
    os.kill(os.getpid(), 9)

RememberedDocuments.write_snapshot = EmbeddedPassportal.snapshot = die
sys.argv = ["bms-pipeline", "sync"]
app.main()
"""
KILLED_IN_DETAILS = """
import os, sys
from bms_pipeline.cli import app
from bms_pipeline.bms import asset_detail
from bms_pipeline.bms.sweep import page_files

appended = []
def append(*arguments):
    appended.append(pages_append(*arguments))
    if len(appended) == 2:
        os.kill(os.getpid(), 9)

pages_append, page_files.append_page = page_files.append_page, append
sys.argv = ["bms-pipeline", "fetch-details"]
app.main()
"""
KILLED_AFTER_A_DECISION = """
import os, sys
from pathlib import Path
from bms_pipeline.sync import deciding
from bms_pipeline.reconcile.decisions import Decision
from bms_pipeline.warehouse.connection import Warehouse
warehouse = Warehouse(Path(sys.argv[1]))
with warehouse.open() as connection:
    connection.execute("SET checkpoint_threshold = '1GB'")
    deciding.decide(warehouse, [Decision("exclude", "contacts", int(sys.argv[2]))], "a person")
    os.kill(os.getpid(), 9)
"""


def delete(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def flip(file: Path) -> None:
    """Turn one bit, at a place that depends on the name alone; an empty file gets one byte."""
    content = bytearray(file.read_bytes() or b"\0")
    bit = random.Random(file.name.rstrip("0123456789")).randrange(len(content) * 8)
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


DAMAGES: tuple[Damage, ...] = (delete, cut, empty, flip)


def listed() -> list[str]:
    """The patterns in the first column of the table of ``docs/files.md``, in its order."""
    table = DOCS.read_text(encoding="utf-8").partition("## When a file is lost or damaged")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    return [pattern for row in rows for pattern in re.findall(r"`([^`]+)`", row)]


def is_of(name: str, pattern: str) -> bool:
    """Whether the file ``name``, relative to its home, is one of ``pattern``."""
    if pattern.endswith("/"):
        return name.startswith(pattern)
    parts = (re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split("/"))
    return re.fullmatch("/".join(parts), name) is not None


def files_of(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


@dataclass(frozen=True)
class Prepared:
    """A home after real runs, and what the next ``sync`` ends in where nothing is damaged."""

    home: Home
    code: int
    end: dict[str, Any]

    def copied(self, folder: Path, *, keeps_open: bool = True) -> Home:
        """A home of one's own with the same files."""
        shutil.copytree(self.home.folder, folder)
        return replace(self.home, folder=folder, environment={}, keeps_open=keeps_open)


def state_of(home: Home) -> dict[str, Any]:
    """All that a loss may not change, without the moments."""
    pairs = "SELECT entity, bms_id FROM sync"
    return {
        "passportal": home.state()["passportal"],
        "decisions": home.warehouse("SELECT verb, entity, bms_id, decided_by FROM sync.decisions ORDER BY ALL"),
        "exclusions": home.warehouse(f"{pairs}.exclusions ORDER BY ALL"),
        "non_matches": home.warehouse(f"{pairs}.non_matches ORDER BY ALL"),
        "matches": home.warehouse(f"{pairs}.matches ORDER BY ALL"),
        "settings": home.warehouse(
            "SELECT name, CASE WHEN name <> 'initial_sync_finished_at' THEN value END FROM sync.settings"
            " WHERE name <> 'restored_at' ORDER BY ALL"
        ),
        "standings": home.status()["standings"],
    }


def done(home: Home, *command: str, code: int = 0, **environment: str) -> None:
    result = home.call(*command, **environment)
    assert result.returncode == code, result.stderr


def use(home: Home) -> None:
    """What people do with a home: a first sync, decisions, a finish, an import, details, a console, and two kills."""
    done(home, "sync", code=2)
    waiting = "SELECT bms_id FROM sync.reconciled_{} WHERE disposition = '{}' ORDER BY ALL"
    contacts = [row[0] for row in home.warehouse(waiting.format("contacts", "to_create"))]
    assets = [row[0] for row in home.warehouse(waiting.format("assets", "to_create"))]
    clients = [row[0] for row in home.warehouse(waiting.format("clients", "unmatched"))]
    users = [row[0] for row in home.warehouse(waiting.format("users", "unmatched"))]
    done(home, "exclude", "contacts", str(contacts[0]))
    done(home, "exclude", "assets", str(assets[0]), str(assets[1]))
    done(home, "create", "clients", str(clients[0]), "--allow-duplicate")
    done(home, "create", "users", str(users[0]), "--allow-duplicate")
    done(home, "preview", code=2)
    done(home, "finish", home.status()["plan"]["hash"])
    home.settle()
    done(home, "settings", "set", "auto_create.assets=on")
    done(home, "fetch-details", "--limit", "3")
    done(home, "sync")
    killed(home, KILLED_IN_SYNC)
    used = home.status()["budget"][f"GET {ASSETS_LIST.path}"]["used"]
    done(home, "sync", "--full", code=1, BMS_CALLS_PER_HOUR=str(used + 1))
    done(home, "fetch-details", "--limit", "3")
    killed(home, KILLED_IN_DETAILS)
    look_in_the_console(home)
    killed(home, KILLED_AFTER_A_DECISION, str(home.settings.warehouse_file), str(contacts[1]))


def killed(home: Home, script: str, *arguments: str) -> None:
    """A process of this home that dies by SIGKILL."""
    result = home.run(*arguments, wrapper=("-c", script), **import_path())
    assert result.returncode == -signal.SIGKILL, f"{result.stdout}{result.stderr}"


def look_in_the_console(home: Home) -> None:
    """Somebody signs in and looks; then the console is killed."""
    command = [sys.executable, "-m", "bms_pipeline.cli", "console", "--port", "0"]
    with subprocess.Popen(command, env=home.environment, cwd=home.folder, stdout=subprocess.PIPE, text=True) as console:
        try:
            assert console.stdout is not None
            address = console.stdout.readline().split()[-1]
            code = home.call("sign-in").stdout.split("code=")[1].split()[0]
            with requests.Session() as session:
                session.trust_env = False
                assert session.get(f"{address}/enter?code={code}", timeout=60).status_code == 200
                assert session.get(f"{address}/clients", timeout=60).status_code == 200
            assert "code=" in home.call("sign-in").stdout, "one more code, which nobody uses"
        finally:
            console.kill()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Target], Prepared]]:
    """A home of each target, made when first asked for."""
    folder = tmp_path_factory.mktemp("files")
    made: dict[Target, Prepared] = {}

    def make(target: Target) -> Prepared:
        if target not in made:
            home = Home(folder / target, sandbox, service=service if target == "documents_api" else None)
            use(home)
            reference = Prepared(home, 0, {})
            undisturbed = reference.copied(folder / f"{target} undisturbed")
            code = undisturbed.call("sync").returncode
            made[target] = Prepared(home, code, state_of(undisturbed))
        return made[target]

    tiny.today().save(folder / "tenant")
    with (
        running_sandbox("small", 1, folder / "tenant", {"hourly_limit": None}) as sandbox,
        running_passportal(folder / "passportal", sandbox.folder) as service,
    ):
        yield make


def as_advised(home: Home, error: str, kept: Home) -> str:
    """Do what the message advises; which advice that was."""
    (advice,) = re.findall(r"^Next:(.*)$", error, re.MULTILINE)
    if "`bms-pipeline restore`" in advice:
        done(home, "restore", "--yes")
        return "restore"
    if "a copy of your own" in advice:
        for file in OWN_COPY:
            (home.folder / file).unlink(missing_ok=True)
            if (kept.folder / file).exists():
                shutil.copy(kept.folder / file, home.folder / file)
        return "own copy"
    for verb, ending in (("Delete", ""), ("Move", ".aside")):
        if advice.strip().startswith(f"{verb} it and its"):
            (named,) = re.findall(r"(?:file|database file) (\S+) is damaged", error)
            for part in sorted(Path(named).parent.glob(f"{Path(named).name}*")):
                part.rename(part.with_name(f"{part.name}{ending}")) if ending else part.unlink()
            return verb.lower()
    raise AssertionError(f"nobody knows what to do: {error}")


def go_on(home: Home, kept: Home) -> tuple[int, list[str]]:
    """Run ``sync`` until it ends, doing what it advises; its exit code, and what was advised."""
    advised: list[str] = []
    for _ in range(4):
        result = home.call("sync")
        said = f"{result.stdout}{result.stderr}"
        assert "Traceback" not in said, said
        assert "held by" not in said, f"nobody holds it: {said}"
        assert "Permission denied" not in said, said
        if result.returncode != 1:
            return result.returncode, advised
        assert "damaged" in said or "does not hold" in said or "This database is new" in said, said
        advised.append(as_advised(home, result.stderr, kept))
    raise AssertionError(f"it does not end: {advised}, {said}")


def cases() -> list[Any]:
    """Every pattern of the table with every damage and target; in the quick suite those of the database alone.

    The rows of all other files are damaged together there: see ``test_all_other_files_damaged_at_once``.
    """
    found = [
        (target, pattern, damage)
        for target in ("documents_api", "embedded")
        for pattern in listed()
        for damage in DAMAGES
        if not pattern.endswith("/") and pattern not in ELSEWHERE
    ]
    quick = {("documents_api", "warehouse.duckdb", flip), ("documents_api", "warehouse.duckdb.wal", cut)}
    return [
        pytest.param(
            *case, marks=() if case in quick else pytest.mark.soak, id=f"{case[0]} {case[1]} {case[2].__name__}"
        )
        for case in found
    ]


@pytest.mark.parametrize(("target", "pattern", "damage"), cases())
def test_no_decision_is_lost_nothing_unwanted_is_created_and_every_message_is_true(
    prepared: Callable[[Target], Prepared], tmp_path: Path, target: Target, pattern: str, damage: Damage
) -> None:
    reference = prepared(target)
    home = reference.copied(tmp_path / "home", keeps_open=not pattern.startswith(OPENED))
    files = [name for name in files_of(home.folder) if is_of(name, pattern)]
    if not files:
        pytest.skip(f"no home of {target} has it; see test_every_row_of_the_table_is_damaged_somewhere")
    damage(home.folder / files[-1])
    code, advised = go_on(home, reference.home)
    print("ADVISED", target, pattern, damage.__name__, advised)
    if pattern == "passportal.duckdb" and damage is delete:
        # The store is the other side itself: it begins empty, and all that is left to hold is what people decided.
        found, decided = state_of(home), ("decisions", "exclusions", "non_matches", "settings")
        assert {name: found[name] for name in decided} == {name: reference.end[name] for name in decided}
        return
    assert code == reference.code
    assert state_of(home) == reference.end
    if advised:
        again = home.call("sync")
        assert (again.returncode, home.status()["plan"]) == (reference.code, None), again.stderr


def test_all_other_files_damaged_at_once_cost_no_decision_and_every_message_is_true(
    prepared: Callable[[Target], Prepared], tmp_path: Path
) -> None:
    """One file of each row but the database's, by the four damages in turn; a soak has each of them alone."""
    reference = prepared("documents_api")
    home = reference.copied(tmp_path / "home", keeps_open=False)
    found = files_of(home.folder)
    patterns = [each for each in listed() if not each.startswith("warehouse.duckdb") and not each.endswith("/")]
    damaged = 0
    for number, pattern in enumerate(patterns):
        files = [name for name in found if is_of(name, pattern)]
        if files:
            DAMAGES[number % len(DAMAGES)](home.folder / files[-1])
            damaged += 1
    assert damaged > 20
    code, advised = go_on(home, reference.home)
    assert code == reference.code, advised
    assert state_of(home) == reference.end


def test_a_damaged_embedded_store_is_named_and_comes_back_from_a_copy_of_ones_own(
    prepared: Callable[[Target], Prepared], tmp_path: Path
) -> None:
    """The row that a home on Passportal's API lacks."""
    kept = Home(tmp_path / "kept", prepared("documents_api").home.sandbox)
    done(kept, "sync", "--create-unmatched")
    before = state_of(kept)
    home = Prepared(kept, 0, before).copied(tmp_path / "home", keeps_open=False)
    cut(home.folder / "passportal.duckdb")
    assert go_on(home, kept) == (0, ["own copy"])
    assert state_of(home) == before


@pytest.mark.parametrize("target", ["documents_api", pytest.param("embedded", marks=pytest.mark.soak)])
def test_every_file_of_a_home_is_in_the_table(prepared: Callable[[Target], Prepared], target: Target) -> None:
    found = files_of(prepared(target).home.folder)
    unlisted = [name for name in found if not any(is_of(name, pattern) for pattern in listed())]
    assert unlisted == [], "files that no row of docs/files.md names"


def test_a_dagster_database_that_is_damaged_is_named(tmp_path: Path) -> None:
    damaged = tmp_path / "dagster" / "history" / "runs.db"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 16)
    result = subprocess.run(
        [sys.executable, "-m", "bms_pipeline.cli", "dagster-ui", "--port", "0"],
        env={"PATH": os.environ["PATH"], "BMS_PIPELINE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 1
    assert f"Dagster does not start on {tmp_path / 'dagster'}." in result.stderr
    assert "Move `history` and `schedules`" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.soak
def test_every_row_of_the_table_is_damaged_somewhere(prepared: Callable[[Target], Prepared]) -> None:
    found = {name for target in ("documents_api", "embedded") for name in files_of(prepared(target).home.folder)}
    missing = [
        pattern for pattern in listed() if pattern not in ELSEWHERE and not any(is_of(name, pattern) for name in found)
    ]
    assert missing == [], " ".join(missing)
