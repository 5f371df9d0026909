"""What a bundle always has: versions, settings by name, facts, counts, runs, errors, budget, sizes of files.

Everything is named here. Free text (errors, and what a service answered) keeps only the words of this program; names of
the tenant become their stand-ins, and other words become x.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import duckdb

from bms_pipeline.bms.budget import Budget
from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.mapping import Mapping
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.version import VERSION
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.recording import read_status
from bms_pipeline.support.letters import core_of, pieces
from bms_pipeline.support.mapped import replaced_mapping
from bms_pipeline.support.program_words import program_words
from bms_pipeline.support.values import How, Ids, Values
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import connect, named_rows
from bms_pipeline.warehouse.facts import read_facts

_LAST_RUNS = 20
_SHORT_NUMBER = 3
"""Digits of a number kept in a text: a status, a count, a share."""
SHOWN_SETTINGS = frozenset((
    "bms_calls_per_hour", "bms_details_calls_per_hour", "bms_connections", "passportal_target",
    "passportal_connections", "passportal_marker", "passportal_body", "passportal_values", "passportal_update",
    "passportal_unknown_seconds", "bms_pipeline_wait_seconds", "bms_pipeline_trusted_proxy",
))  # fmt: skip
"""The settings whose values are numbers or words of this program. A bundle only says whether the others are set."""
_FOLDERS = ("backups", "import_files", "landing", "support")
_ADDRESS = re.compile(r"\d{1,3}(?:[.-]\d{1,3}){3}")
"""An IP address, also as the names of hosts have it: ``dhcp-192-168-0-66``."""
_HTTP = "http"
"""The word before the status of an answer, which looks like an id."""
_PROGRAM_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class FreeText:
    """A text possibly written by a person or a service: shown only as ``Cleaner`` has it."""

    text: str


@dataclass(frozen=True)
class TemplateLabel:
    """The name of a template or of one of its fields: shown as it is, but for words of a record or of the settings."""

    text: str


@dataclass(frozen=True)
class StoredMapping:
    """A mapping: its labels are shown as ``TemplateLabel`` are, and its words as the values of records are."""

    mapping: Mapping


def report_of(settings: Settings, connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Return the report, with ``FreeText`` where a text may have names in it."""
    return {
        "versions": _versions(),
        "platform": {"system": platform.system(), "release": platform.release(), "machine": platform.machine()},
        "settings": _settings(settings),
        "facts": [
            {"name": fact.name, "value": FreeText(fact.value), "how": FreeText(fact.how)}
            for fact in read_facts(connection).values()
        ],
        "mapping": StoredMapping(read_sync_settings(connection).mapping),
        "templates": _templates(settings.documents_file),
        "records": {entity.name: _counts(connection, entity.name) for entity in ENTITIES},
        "dispositions": {
            entity.name: named_rows(connection, sql.read("support/dispositions").format(entity=entity.name))
            for entity in ENTITIES
        },
        "runs": [
            {**run, "failed_because": _free(run["failed_because"])}
            for run in named_rows(connection, sql.read("support/runs"), {"last": _LAST_RUNS})
        ],
        "progress": _progress(settings),
        "calls_this_hour": _calls(settings),
        "sizes": _sizes(settings.bms_pipeline_home),
    }


def read_without_warehouse(settings: Settings, error: PipelineError) -> dict[str, Any]:
    """Return the part of the report without the database, and why it could not be used."""
    return {
        "versions": _versions(),
        "platform": {"system": platform.system(), "release": platform.release(), "machine": platform.machine()},
        "settings": _settings(settings),
        "warehouse": {
            "error": type(error).__name__,
            "message": FreeText(error.message),
            "next_step": FreeText(error.next_step),
        },
        "progress": _progress(settings),
        "calls_this_hour": _calls(settings),
        "sizes": _sizes(settings.bms_pipeline_home),
    }


def free_texts(value: object) -> Iterable[str]:
    """Yield every free text in a report."""
    if isinstance(value, FreeText):
        yield value.text
    elif isinstance(value, dict):
        for inner in value.values():
            yield from free_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from free_texts(inner)


def mentioned_names(connection: duckdb.DuckDBPyConnection, texts: Iterable[str]) -> set[str]:
    """Return the names of stored records in ``texts``."""
    found: set[str] = set()
    listed = sorted(set(texts))
    for entity in ENTITIES if listed else ():
        statement = sql.read("support/mentioned").format(entity=entity.name)
        found |= {row[0] for row in connection.execute(statement, {"texts": listed}).fetchall()}
    return found


class Cleaner:
    """Makes a report fit to be shown, with the stand-ins of ``values`` and ``ids``; ``mentioned``: see there."""

    def __init__(self, values: Values, ids: Ids, mentioned: Iterable[str]) -> None:
        self._values = values
        self._ids = ids
        longest_first = sorted(mentioned, key=lambda name: (-len(name), name))
        self._names = re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})", re.IGNORECASE)

    def cleaned(self, value: Any) -> Any:  # noqa: ANN401  # JSON
        """Return a report without free texts: each as this program alone could have written it, with stand-ins."""
        if isinstance(value, FreeText):
            return self._text(value.text)
        if isinstance(value, TemplateLabel):
            return self._values.stand_in(How.LABEL, value.text)
        if isinstance(value, StoredMapping):
            return replaced_mapping(value.mapping, self._values).as_json()
        if isinstance(value, dict):
            return {key: self.cleaned(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.cleaned(inner) for inner in value]
        return self._values.moment(value) if isinstance(value, datetime) else value

    def _text(self, text: str) -> str:
        parts = self._names.split(_ADDRESS.sub("0.0.0.0", text))  # noqa: S104  # it stands for any address
        return "".join(self._values.words.stand_in(part) if n % 2 else self._rest(part) for n, part in enumerate(parts))

    def _rest(self, text: str) -> str:
        shown: list[str] = []
        before = ""
        for piece in pieces(text):
            if isinstance(piece, str):
                shown.append(piece)
            else:
                word = "".join(sign.written for sign in piece)
                shown.append(self._word(word, core_of(piece), is_status=before == _HTTP))
                before = word.casefold()
        return "".join(shown)

    def _word(self, word: str, core: str, *, is_status: bool) -> str:
        if word.isascii() and word.isdigit():
            known = None if is_status else self._ids.known(int(word))
            return str(known) if known is not None else word if len(word) <= _SHORT_NUMBER else "0" * len(word)
        if word.isascii() and all(part.casefold() in program_words() for part in _PROGRAM_WORD.findall(word)):
            return re.sub(r"\d", "0", word)
        return self._values.words.stand_in(word) if core in self._values.words.known else "x" * len(word)


def _free(text: str | None) -> FreeText | None:
    return None if text is None else FreeText(text)


def _versions() -> dict[str, str]:
    shown = {"bms_pipeline": VERSION, "python": platform.python_version(), "sqlite": _sqlite()}
    for name in ("dagster", "duckdb", "requests", "rapidfuzz", "pydantic"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            shown[name] = metadata.version(name)
    return {**shown, "implementation": sys.implementation.name}


def _sqlite() -> str:
    import sqlite3

    return sqlite3.sqlite_version


def _settings(settings: Settings) -> dict[str, Any]:
    """Return each setting by name: its value where it says nothing about the tenant, else whether it is set."""
    shown: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        is_set = value != field.default and value is not None
        shown[name.upper()] = value if name in SHOWN_SETTINGS else "set" if is_set else "not set"
    return shown


def _counts(connection: duckdb.DuckDBPyConnection, entity: str) -> dict[str, int]:
    (counts,) = named_rows(
        connection,
        f"SELECT (SELECT count(*) FROM bms.{entity} WHERE missing_since IS NULL) AS in_bms,"
        f" (SELECT count(*) FROM bms.{entity} WHERE missing_since IS NOT NULL) AS gone_from_bms,"
        f" (SELECT count(*) FROM passportal.{entity}) AS in_passportal,"
        f" (SELECT count(*) FROM sync.matches WHERE entity = '{entity}') AS matches,"
        f" (SELECT count(*) FROM sync.exclusions WHERE entity = '{entity}') AS exclusions",
    )
    return counts


def _templates(file: Path) -> list[dict[str, Any]]:
    """Return the templates of Passportal with their labels, as far as their documents were read."""
    if not file.exists():
        return []
    with contextlib.suppress(duckdb.Error, PipelineError), contextlib.closing(connect(file, read_only=True)) as memory:
        return [
            {
                "type": row["type"],
                "template": TemplateLabel(row["template"] or ""),
                "documents": row["documents"],
                "labels": [TemplateLabel(label) for label in row["labels"] if label],
            }
            for row in named_rows(memory, sql.read("support/templates"))
        ]
    return []


def _progress(settings: Settings) -> dict[str, Any] | None:
    status = read_status(open_state(settings))
    if status is None:
        return None
    return {
        "stage": FreeText(status.stage),
        "done": status.done,
        "total": status.total,
        "has_ended": status.ended_at is not None,
        "message": FreeText(status.message),
        "next_step": FreeText(status.next_step),
        "ended_stages": [
            {"name": FreeText(stage.name), "done": stage.done, "seconds": round(stage.seconds, 1)}
            for stage in status.ended_stages
        ],
    }


def _calls(settings: Settings) -> dict[str, dict[str, int]]:
    with contextlib.closing(Budget.of(settings)) as budget:
        return {
            endpoint: {"used": usage["used"], "left": usage["left"], "limit": usage["limit"]}
            for endpoint, usage in budget.usage().items()
        }


def _sizes(home: Path) -> dict[str, int]:
    """Return the bytes of the files in the home folder, by ending, and of the known folders as a whole."""
    sizes: dict[str, int] = {}
    for file in home.iterdir() if home.is_dir() else ():
        if file.is_file():
            kind = f"*{file.suffix}" if _PROGRAM_WORD.findall(file.suffix)[:1] != [] else "other"
            known = kind if kind[2:] in program_words() else "other"
            sizes[known] = sizes.get(known, 0) + file.stat().st_size
    for name in _FOLDERS:
        if (home / name).is_dir():
            sizes[f"{name}/"] = sum(_bytes_below(home / name))
    return sizes


def _bytes_below(folder: Path) -> Iterable[int]:
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                yield (Path(place) / name).stat().st_size
