"""The proof of a bundle: its records have the same dispositions and reasons, and none of its files has an original.

The first is shown by reconciling the replaced records in a warehouse of their own. For the second, the finished file is
opened and read like a stranger's.
"""

from __future__ import annotations

import html
import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

import duckdb

from bms_pipeline.core.entities import ENTITIES, EntityName
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.mapping import Mapping as FieldMapping
from bms_pipeline.reconcile import matching
from bms_pipeline.support import tenant
from bms_pipeline.support.mapped import Made, made_texts
from bms_pipeline.support.values import How
from bms_pipeline.warehouse.connection import Warehouse, now

_LEAST = 4
"""Characters from which an original is searched for: shorter ones are everywhere."""
_TOKEN = re.compile(r"[^\W_]+")

Standing = tuple[str, str]
"""A disposition and its reason."""


class OriginalFound(PipelineError):
    """A bundle would have had something of the tenant. ``kind`` and ``place`` say what and where; the value is kept."""

    def __init__(self, kind: str, place: str) -> None:
        super().__init__(
            f"No bundle was written: an original ({kind}) would have been in it, in {place}.",
            "This is a defect of the pipeline. Please report it with this message, which has no value of yours.",
        )
        self.kind = kind
        self.place = place


@dataclass(frozen=True)
class Difference:
    """A record whose disposition or reason the replaced copy does not show."""

    entity: EntityName
    bms_id: int
    was: Standing
    becomes: Standing | None


def standings(connection: duckdb.DuckDBPyConnection, *, chosen: bool) -> dict[tuple[EntityName, int], Standing]:
    """Return each reconciled record's standing; ``chosen``: only of those that a bundle is about."""
    found: dict[tuple[EntityName, int], Standing] = {}
    for entity in ENTITIES:
        only = (
            f" WHERE bms_id IN (SELECT id::BIGINT FROM chosen_{entity.name} WHERE side = 'bms' AND whole)"
            if chosen
            else ""
        )
        rows = connection.execute(
            f"SELECT bms_id, disposition, reason FROM sync.reconciled_{entity.name}{only}"
        ).fetchall()
        found |= {(entity.name, bms_id): (disposition, reason) for bms_id, disposition, reason in rows}
    return found


def reconciled_copy(rows: tenant.Rows, settings: Mapping[str, Any]) -> dict[tuple[EntityName, int], Standing]:
    """Reconcile ``rows`` in a temporary warehouse; return the standing of each record."""
    with TemporaryDirectory(prefix="bms_pipeline-") as folder:
        warehouse = Warehouse(Path(folder) / "copy.duckdb")
        with warehouse.transaction() as connection:
            tenant.fill(connection, rows, settings, now())
            matching.reconcile_all(connection, ENTITIES)
            return standings(connection, chosen=False)


def made_in_copy(rows: tenant.Rows, mappings: Sequence[FieldMapping]) -> list[Made]:
    """Return the texts that each mapping makes of the records of BMS in ``rows``."""
    of_bms = {name: found for name, found in rows.items() if name.startswith("bms.")}
    with TemporaryDirectory(prefix="bms_pipeline-") as folder:
        warehouse = Warehouse(Path(folder) / "copy.duckdb")
        with warehouse.transaction() as connection:
            tenant.fill(connection, of_bms, {}, now())
            return [made_texts(connection, mapping) for mapping in mappings]


def differing_records(
    originals: Mapping[tuple[EntityName, int], Standing],
    copies: Mapping[tuple[EntityName, int], Standing],
    replacement: tenant.Replacement,
) -> list[Difference]:
    """Return the records that stand otherwise in the copy, by their ids there."""
    found = []
    for (entity, bms_id), was in originals.items():
        there = replacement.bms_ids.known(bms_id)
        becomes = copies.get((entity, there)) if there is not None else None
        if becomes != was:
            found.append(Difference(entity, there or 0, was, becomes))
    return found


class Originals:
    """What must not be in a bundle: kind → texts. Texts in which ``public`` words are all there is are not looked for.

    ``everywhere``: what a program never says by itself, such as hosts and secrets, so that ``public`` does not count.
    """

    def __init__(
        self, texts: Mapping[str, Collection[str]], everywhere: Mapping[str, Collection[str]], public: Collection[str]
    ) -> None:
        self._public = public
        self._starts: dict[str, list[tuple[tuple[str, ...], str, bool]]] = defaultdict(list)
        for is_everywhere, kinds in ((True, everywhere), (False, texts)):
            for kind, found in kinds.items():
                for tokens in {_tokens(text) for text in found if len(text.strip()) >= _LEAST}:
                    if sum(map(len, tokens)) >= _LEAST:
                        self._starts[tokens[0]].append((tokens, kind, is_everywhere))

    def check(self, file: Path) -> None:
        """Raise ``OriginalFound`` where a file in the ZIP ``file`` has an original, however it is encoded."""
        with zipfile.ZipFile(file) as bundle:
            for name in bundle.namelist():
                for text, is_replaced in _texts(name, bundle.read(name)):
                    self._check(name, text, is_replaced=is_replaced)
                self._check(name, name, is_replaced=False)

    def _check(self, place: str, text: str, *, is_replaced: bool) -> None:
        for version in _readings(text):
            tokens = _tokens(version)
            for n, token in enumerate(tokens):
                for wanted, kind, is_everywhere in self._starts.get(token, ()):
                    if tokens[n : n + len(wanted)] != wanted:
                        continue
                    if is_everywhere or is_replaced or not all(part in self._public for part in wanted):
                        raise OriginalFound(kind, place)


def _tokens(text: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(text.casefold()))


def _readings(text: str) -> Iterator[str]:
    """Yield ``text`` as it is, and as it is read where addresses and pages are read."""
    yield text
    if "%" in text:
        yield unquote(text)
    if "&" in text:
        yield html.unescape(html.unescape(text))


def _texts(name: str, content: bytes) -> Iterator[tuple[str, bool]]:
    """Yield the texts of a file; with each, whether it was replaced, so that even a common word is a find."""
    text = content.decode("utf-8", "surrogatepass")
    table = _TABLES.get(name)
    if table is None:
        yield text, False
        return
    for line in filter(None, text.split("\n")):
        row = json.loads(line)
        for column, value in row.items():
            how = table.columns.get(column)
            if how in _READ and isinstance(value, str):
                yield value, True
            elif how in (None, How.KEPT, How.LABEL):
                yield f"{column} {json.dumps(value, ensure_ascii=False)}", False
            elif isinstance(value, str):  # numbers of a phone or a date may be another record's by chance
                yield re.sub(r"\d", " ", value), True


_READ = (How.NAME, How.TEXT, How.FLAG, How.EMAIL, How.SERIAL, How.NOTES)
_TABLES = {tenant.file_of_table(table.name): table for table in tenant.bundle_tables()}


def searched(
    given: Iterable[tuple[How, str, str]], known_words: Mapping[str, str], is_public: Collection[str]
) -> dict[str, set[str]]:
    """Return the originals to look for by kind: what was replaced, and each of its words.

    A placeholder that stays as it is, and numbers alone, are not looked for.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for how, value, standin in given:
        if how in (How.NAME, How.TEXT, How.EMAIL, How.SERIAL) and value != standin and not _is_number(value, how):
            found[how.value].add(value)
    found["word"] = {word for word in known_words if not word.isdigit() and word not in is_public}
    return found


def _is_number(value: str, how: How) -> bool:
    digits = "".join(_tokens(value))
    return digits.isdigit() and (how is not How.SERIAL or len(digits) <= _LEAST)
