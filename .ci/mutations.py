"""Take each mended fault back, one at a time, and say which test notices: ``python .ci/mutations.py [WORD ...]``.

Every line below names a file, the text that mends something, the text without it, and the tests that have to fail then.
Each is tried in one copy of the checkout, never in the checkout itself. ``WORD`` chooses lines by file, text or test.
Exits with 1 if a mutation survives, or no longer fits its file. Not part of the suite: one line takes up to a minute.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SECONDS = 600


@dataclass(frozen=True)
class Mutation:
    """In ``file``, ``old`` becomes ``new``; one of ``tests`` has to fail."""

    file: str
    old: str
    new: str
    tests: str

    def __str__(self) -> str:
        return f"{self.file}: {self.old.strip().splitlines()[0][:70]!r} -> {self.new.strip()[:50]!r}"


_BMS, _PLAN = "bms_pipeline/bms", "bms_pipeline/plan/sql"
_ENDING, _LOADS = "bms_pipeline_tests/bms/test_ending.py", "bms_pipeline_tests/load"
_ALIKE = "bms_pipeline_tests/reconcile/test_look_alikes.py"
_ONE_CLIENT = "bms_pipeline_tests/reconcile/test_one_client.py"

MUTATIONS = (
    # Issue 14, 1: absent is not null
    Mutation(
        "bms_pipeline/warehouse/landing.py",
        "decides = [key for key in entity.deciding if key in absent]",
        "decides: list[str] = []",
        "bms_pipeline_tests/warehouse/test_landing.py",
    ),
    Mutation(
        "bms_pipeline/warehouse/landing.py",
        "path for path in sorted(absent) if is_full and records >= ENOUGH and _came(connection, entity, path)",
        "path for path in sorted(absent) if False",
        "bms_pipeline_tests/warehouse/test_landing.py",
    ),
    Mutation(
        "bms_pipeline/warehouse/landing.py",
        "    return absent\n\n\ndef _absent_inside",
        "    return set()\n\n\ndef _absent_inside",
        "bms_pipeline_tests/warehouse/test_landing.py bms_pipeline_tests/reconcile/test_fields.py",
    ),
    # 2: keys in any case
    Mutation(
        f"{_BMS}/spelling.py",
        "key.lower() in self._names for key in found",
        "False for key in found",
        "bms_pipeline_tests/bms/test_sweep.py bms_pipeline_tests/bms/test_client.py",
    ),
    # 3: the end of a list
    Mutation(f"{_BMS}/sweep/ending.py", "READINGS = 2", "READINGS = 1", _ENDING),
    Mutation(f"{_BMS}/sweep/ending.py", "LOOK_PAST = 3", "LOOK_PAST = 0", _ENDING),
    Mutation(f"{_BMS}/sweep/ending.py", "return End.REPEATS", "return End.UNPROVED", _ENDING),
    Mutation(
        f"{_BMS}/sweep/ending.py",
        "return End.PROVED if says_so_alone and is_nothing_against else End.UNPROVED",
        "return End.PROVED",
        _ENDING,
    ),
    Mutation(f"{_BMS}/sweep/ending.py", "self.last > 1 and self.rows < self.size", "self.rows < self.size", _ENDING),
    Mutation(
        f"{_PLAN}/hold_unproved.sql",
        "operation IN ('create', 'adopt')",
        "operation IN ('create')",
        "bms_pipeline_tests/reconcile/test_breakers.py bms_pipeline_tests/end_to_end/test_bad_input.py",
    ),
    # 4: time
    Mutation(
        "bms_pipeline/warehouse/clock.py",
        "    if not columns:",
        "    if True:",
        "bms_pipeline_tests/warehouse/test_clock.py",
    ),
    Mutation(
        "bms_pipeline/warehouse/clock.py",
        "ORDER BY moment DESC",
        "ORDER BY moment",
        "bms_pipeline_tests/warehouse/test_clock.py",
    ),
    # 5: junk and look-alikes
    Mutation("bms_pipeline/core/junk.py", "or most > _MOSTLY * len(serial)", "", "bms_pipeline_tests/test_junk.py"),
    Mutation(
        "bms_pipeline/core/junk.py",
        "if len(serial) < 3 or len(set(plain)) < 2:",
        "if False:",
        f"{_ALIKE} bms_pipeline_tests/test_junk.py",
    ),
    Mutation(
        "bms_pipeline/core/junk.py",
        "return not words or _JUNK_TEXT",
        "return _JUNK_TEXT",
        f"{_ALIKE} bms_pipeline_tests/test_junk.py",
    ),
    Mutation(
        "bms_pipeline/warehouse/names.py",
        "decoded = _ENTITY.sub(lambda found: html.unescape(found[0]), folded)",
        "decoded = folded",
        f"{_ALIKE} bms_pipeline_tests/warehouse/test_names.py",
    ),
    Mutation(
        "bms_pipeline/warehouse/names.py",
        "return folded if folded.translate(_WITHOUT_INVISIBLE).strip() else None",
        "return folded",
        f"{_ALIKE} bms_pipeline_tests/warehouse/test_names.py",
    ),
    Mutation(
        f"{_PLAN}/hold_back_names.sql",
        "is_other_name(l.bms_name, b.name)",
        "false",
        _ALIKE,
    ),
    # 8: services as they answer
    Mutation(
        f"{_BMS}/login.py",
        "if answer.status != UNSUPPORTED_MEDIA_TYPE:",
        "if True:",
        "bms_pipeline_tests/bms/test_login.py",
    ),
    Mutation(
        "bms_pipeline/core/http.py",
        'rest = unpacker.unused_data.lstrip(b"\\0")',
        'rest = b""',
        "bms_pipeline_tests/http/test_service.py",
    ),
    Mutation(
        "bms_pipeline/core/http.py",
        "_inflated(body, 15, -15)",
        "_inflated(body, 15)",
        "bms_pipeline_tests/http/test_service.py",
    ),
    # Issue 13, 1 and 2: a load ends right
    Mutation(
        "bms_pipeline/load/sql/due.sql",
        "AND NOT coalesce(c.is_unknown, false)",
        "",
        f"{_LOADS}/test_resume.py {_LOADS}/test_lost_answers.py",
    ),
    Mutation(
        "bms_pipeline/load/sql/due.sql",
        "WHERE NOT (coalesce(is_outside, false) AND client_is_pending)",
        "",
        f"{_LOADS}/test_resume.py",
    ),
    Mutation(
        "bms_pipeline/load/sql/due.sql",
        "(outcome IS NULL OR plan_id",
        "(plan_id",
        f"{_LOADS}/test_resume.py {_LOADS}/test_lost_answers.py",
    ),
    Mutation(
        "bms_pipeline/load/journal.py", "now - timedelta(seconds=unknown_seconds)}", "now}", f"{_LOADS}/test_resume.py"
    ),
    # 5: true causes
    Mutation(
        "bms_pipeline/warehouse/causes.py",
        'SIDE_FILES = (".wal", ',
        "SIDE_FILES = (",
        "bms_pipeline_tests/warehouse/test_causes.py bms_pipeline_tests/test_recovery.py",
    ),
    # 4: a second copy
    Mutation(
        "bms_pipeline/warehouse/decision_log.py",
        "os.fsync(stream.fileno())",
        "pass",
        "bms_pipeline_tests/test_recovery.py",
    ),
    # 6: approval that cannot be forged
    Mutation(
        "bms_pipeline/guard/door.py",
        "            return origin in own\n",
        "            return True\n",
        "bms_pipeline_tests/guard/test_forged_requests.py",
    ),
    Mutation(
        "bms_pipeline/guard/door.py",
        'return site == "same-origin" and',
        "return",
        "bms_pipeline_tests/guard/test_forged_requests.py",
    ),
    # Issue 19, 1: one client first
    Mutation(
        f"{_BMS}/sweep/client_pages.py",
        "        self._check(list_call, page)\n",
        "",
        "bms_pipeline_tests/bms/test_one_client_sweep.py",
    ),
    Mutation(
        f"{_BMS}/client.py",
        "            accepted.pop(MODIFIED_SINCE, None)",
        "            accepted.clear()",
        "bms_pipeline_tests/bms/test_one_client_sweep.py",
    ),
    Mutation(
        f"{_BMS}/sweep/sweeper.py",
        '("modified_since", "client", "tenant")',
        '("modified_since", "tenant")',
        "bms_pipeline_tests/bms/test_one_client_sweep.py",
    ),
    Mutation(
        "bms_pipeline/warehouse/landing.py",
        'f"left_client_since IS NULL AND account_id = {client}"',
        '"left_client_since IS NULL"',
        _ONE_CLIENT,
    ),
    Mutation(
        "bms_pipeline/reconcile/sql/unread_elsewhere.sql",
        "DELETE FROM pairs WHERE bms_id IN (SELECT bms_id FROM unread_elsewhere)",
        "SELECT 1",
        _ONE_CLIENT,
    ),
    Mutation(
        "bms_pipeline/sync/extraction.py",
        "is_first_whole = manifest.client is None and clients_read and not wholly_read",
        "is_first_whole = False",
        _ONE_CLIENT,
    ),
)


def main(words: list[str]) -> int:
    """Try the chosen mutations; the exit code."""
    chosen = [
        each for each in MUTATIONS if not words or any(word in f"{each.file} {each.old} {each.tests}" for word in words)
    ]
    survived = []
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy = Path(folder) / "checkout"
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        for name in filter(None, files.decode().split("\0")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
        for number, mutation in enumerate(chosen, 1):
            caught = _tried(copy, mutation)
            print(f"{number}/{len(chosen)}  {mutation}\n    {caught or 'SURVIVED'}", flush=True)
            if caught is None:
                survived.append(mutation)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} mutations were noticed")
    return 1 if survived else 0


def _tried(copy: Path, mutation: Mutation) -> str | None:
    """The test that notices the mutation in this copy of the checkout; None if none does."""
    file = copy / mutation.file
    right = file.read_text("utf-8")
    if right.count(mutation.old) != 1:
        print(f"    the text is {right.count(mutation.old)} times in {mutation.file}: bring this line up to date")
        return None
    file.write_text(right.replace(mutation.old, mutation.new), "utf-8")
    try:
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-x",
                "--no-header",
                "--tb=no",
                "-p",
                "no:cacheprovider",
                *mutation.tests.split(),
            ],
            cwd=copy,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no end within {SECONDS} seconds"
    finally:
        file.write_text(right, "utf-8")
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE)
    return found.group(1) if run.returncode == 1 and found else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
