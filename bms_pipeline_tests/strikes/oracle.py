"""What must be the same after any history that ends in the same place, asked apart from the product's own reports."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bms_pipeline_tests.strikes.bench import Case

Rows = list[tuple[Any, ...]]

_CONTENT = """
SELECT type, (SELECT any_value(title) FROM records c WHERE c.type = 'client' AND c.id = r.client_id), title, details,
       marker
FROM records r ORDER BY ALL
"""
_TWICE = """
SELECT type, marker FROM records WHERE marker IS NOT NULL GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL
"""
_PLAN = """
SELECT operations = 0 OR loaded_at IS NOT NULL,
       (SELECT count(*) > 0 FROM sync.settings WHERE name = 'initial_sync_finished_at')
FROM sync.plans ORDER BY plan_id DESC LIMIT 1
"""


@dataclass(frozen=True)
class Standing:
    """How things stand. Ids that Passportal gives are left out: they follow from the order of the calls.

    ``content``: what Passportal holds. ``twice``: markers on two documents. ``matches``, ``decided``: what lasts.
    ``bases``: the names that the next comparison starts from. ``intents``: calls whose outcome is open. ``plan``:
    whether the current plan is closed, and whether the initial sync is finished. ``handed_over``: the rows of the
    import files, once for each time they are there. ``files``: all names below the home folder, without what differs
    between any two runs. ``preview``: the exit code of a preview afterwards.
    """

    content: Rows
    twice: Rows
    matches: Rows
    decided: Rows
    bases: Rows
    intents: Rows
    plan: Rows
    handed_over: Rows
    files: list[str]
    preview: int

    def differences(self, expected: Standing, *, restored: bool = False) -> list[str]:
        """A line for each thing that is otherwise than ``expected``; strays are what is there in addition.

        Where the database was ``restored``, the matches are the same and have other reasons: they are found by their
        markers. What `restore` moved aside stays.
        """
        if restored:
            return replace(self, **_without_history(self)).differences(replace(expected, **_without_history(expected)))
        found = []
        for name in (field.name for field in fields(self)):
            mine, other = getattr(self, name), getattr(expected, name)
            if name == "files":
                found += [f"stray file {file}" for file in sorted(set(mine) - set(other)) if not _is_of_a_client(file)]
            elif isinstance(mine, list):
                found += [f"{name}: missing {row}" for row in other if row not in mine][:5]
                found += [f"{name}: additional {row}" for row in mine if row not in other][:5]
                if len(mine) != len(other) or (not found and mine != other):
                    found.append(f"{name}: {len(mine)} instead of {len(other)}")
            elif mine != other:
                found.append(f"{name}: {mine} instead of {other}")
        return found


def _is_of_a_client(file: str) -> bool:
    """Return whether ``file`` is of a reading of one client: after its plan, an import by client begins with one."""
    return file.startswith("landing/clients/")


def _without_history(standing: Standing) -> dict[str, Any]:
    return {
        "matches": [row[:2] for row in standing.matches],
        "decided": [row for row in standing.decided if row[0] != "creation"],
        "files": [file for file in standing.files if not file.endswith(".aside")],
    }


def standing(case: Case) -> Standing:
    """How things stand in ``case``; a preview is the last thing that is tried."""
    content, twice = case.passportal(_CONTENT, _TWICE)
    queries = (
        "SELECT entity, bms_id, reason FROM sync.matches ORDER BY ALL",
        "SELECT 'exclusion', entity, bms_id FROM sync.exclusions UNION ALL"
        " SELECT 'creation', entity, bms_id FROM sync.approved_creates UNION ALL"
        " SELECT 'parting', entity, bms_id FROM sync.non_matches ORDER BY ALL",
        " UNION ALL ".join(
            f"SELECT '{entity}', bms_id, bms_name, passportal_name FROM sync.base_{entity}"
            for entity in ("clients", "users", "locations", "contacts", "assets")
        )
        + " ORDER BY ALL",
        "SELECT entity, bms_id, operation FROM sync.journal WHERE outcome IS NULL OR outcome = 'unknown' ORDER BY ALL",
        _PLAN,
    )
    matches, decided, bases, intents, plan = case.ask(*queries)
    files = _names(case.home)
    handed_over = _handed_over(case.home / "import_files")
    return Standing(content, twice, matches, decided, bases, intents, plan, handed_over, files, case.run("preview"))


def _handed_over(folder: Path) -> Rows:
    """What a person would import: (entity, cells)."""
    return sorted(
        (file.name.partition("-")[0], *cells)
        for file in folder.glob("*.csv")
        for cells in list(csv.reader(file.read_text(encoding="utf-8").splitlines()))[1:]
    )


def _names(home: Path) -> list[str]:
    paths = (str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
    return sorted({any_name(path) for path in paths})


def any_name(path: str) -> str:
    """``path`` as a pattern that fits the same file of any run: moments, numbers and what was drawn are left open."""
    path = re.sub(r"\.[a-z0-9_]{8}(?=\.new)", ".*", path)
    return re.sub(r"[0-9]{8}T[0-9]+Z?(-[0-9a-f]+)?|[0-9a-f]{8,}|[0-9]+", "*", path)
