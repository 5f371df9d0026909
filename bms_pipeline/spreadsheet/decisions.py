"""Decisions to and from a spreadsheet: a person fills in four columns of a list of records, and gives it back.

The file's suffix selects CSV or XLSX. Nothing here knows the warehouse. ``agreement`` checks a line against the stored
records, and ``decisions`` checks whether a decision may be taken. This module only handles columns and lines.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import cast

from bms_pipeline.core.entities import BY_NAME
from bms_pipeline.core.errors import DecisionFileInvalid
from bms_pipeline.core.files import atomic_write
from bms_pipeline.core.vocabulary import LINKS, Verb
from bms_pipeline.reconcile.decisions import VERBS, Decision
from bms_pipeline.spreadsheet.cells import (
    LARGEST_FILE,
    Cell,
    Place,
    Report,
    SheetReader,
    Unusable,
    Value,
    file_refusal,
    plain_cell,
    ranges,
    shown_cell,
)
from bms_pipeline.spreadsheet.csv_file import CsvReader, write_csv
from bms_pipeline.spreadsheet.xlsx_reader import XlsxReader
from bms_pipeline.spreadsheet.xlsx_writer import Column, write_xlsx

SUGGESTIONS = 3
STATE_COLUMNS = ("client", "name", "disposition", "reason", "matched_to")
"""The record and its state at the time of the export; an import compares them with the stored record.

These are columns a person reads, not a stamp only for us. A refusal can then name the change. A file made by hand can
leave them out, and no spreadsheet program takes them for a number.
"""

RECORD_COLUMNS = ("entity", "bms_id", *STATE_COLUMNS)
PERSON_COLUMNS = ("decision", "match_to", "allow_duplicate", "why")
"""Left empty for the person who decides."""

_FORMER_COLUMNS = {"beside": "allow_duplicate"}
READ_COLUMNS = ("entity", "bms_id", *PERSON_COLUMNS)
NEEDED_COLUMNS = ("entity", "bms_id", "decision")
SHEET = "decisions"

_SUGGESTED = tuple((f"suggestion_{number}", f"suggestion_{number}_name") for number in range(1, SUGGESTIONS + 1))
_COLUMNS = (*READ_COLUMNS, *STATE_COLUMNS, *(name for pair in _SUGGESTED for name in pair))
_LINES_BEFORE_A_HEADER = 10
_LAST_ID = 2**63 - 1
_LONGEST_RUN = 2
_SHORTENED_NUMBER = re.compile(r"[0-9](?:[.,][0-9]+)?[Ee]\+[0-9]+")
_ID = re.compile(r"[0-9]{1,19}")
_COUNTING = re.compile(r"(.*?)([0-9]{1,18})")
_YES = frozenset({"yes", "true", "1", "x"})
_YES_OR_NO = _YES | {"", "no", "false", "0"}


@dataclass(frozen=True)
class SuggestedPartner:
    """A Passportal record that may be the same, with the evidence."""

    passportal_id: str
    name: str
    score: float
    evidence: str


@dataclass(frozen=True)
class Row:
    """A BMS record as the person who decides sees it. All rows of a file are of one entity."""

    entity: str
    bms_id: int
    client: str | None
    name: str | None
    disposition: str
    reason: str
    fields: Mapping[str, str | None]
    suggestions: Sequence[SuggestedPartner]
    matched_to: str | None = None


@dataclass(frozen=True)
class DecisionLine:
    """A decision, and the record's state in its line of the file: column → text, for the columns in the file.

    ``suggested``: Passportal id → name, as the line suggests them.
    """

    decision: Decision
    state: Mapping[str, str] = field(default_factory=dict)
    suggested: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FilledIn:
    """A file a person filled in; ``notes`` are remarks for that person which are no mistakes."""

    file: Path
    lines: list[DecisionLine]
    notes: list[str]

    @property
    def decisions(self) -> list[Decision]:
        """The decisions, exact repeats once."""
        first: dict[tuple[str, int], Decision] = {}
        for line in self.lines:
            first.setdefault((line.decision.entity, line.decision.bms_id), line.decision)
        return list(first.values())


def write_decisions(file: Path, rows: Iterable[Row], field_names: Sequence[str]) -> int:
    """Write ``rows`` and return their number. The file is replaced as a whole or not at all.

    Only its owner may read it. Control characters, which XLSX cannot hold, become U+FFFD, and a text ends after 16,000
    characters.
    """
    columns = _columns_written(field_names)
    values = (_values(row, field_names) for row in rows)
    if file.suffix.lower() not in (".csv", ".xlsx"):
        raise _wrong_suffix(file)
    with atomic_write(file) as unfinished:
        if file.suffix.lower() == ".csv":
            return write_csv(unfinished, [column.name for column in columns], values)
        return write_xlsx(unfinished, SHEET, columns, values)


def read_decisions(file: Path) -> list[Decision]:
    """Return the decisions in ``file``: see ``read_lines``."""
    return read_lines(file).decisions


def read_lines(file: Path) -> FilledIn:
    """Return the lines of ``file`` with a decision, in the file's order.

    ``line`` of each decision is the row a spreadsheet shows (the header is 1). A cell in CSV can hold line breaks.
    There ``line`` is the line of the file on which the record starts, as a text editor counts.

    Raises ``DecisionFileInvalid`` with all mistakes at once, as far as they can be found without the warehouse.
    """
    report = Report(file)
    reader = _reader(file, report)
    try:
        _refuse_unfit(file)
        lines = _lines(_cells(reader, report), report)
    except OSError as error:
        raise file_refusal(file, f"cannot be read: {error.strerror or error}", "See that it can be opened.") from error
    report.refuse()
    hidden = report.hidden & {line.decision.line for line in lines}
    if hidden:
        report.notes.append(
            f"These lines are hidden in the sheet, by a filter or by hand, and count: {ranges(hidden)}."
        )
    return FilledIn(file, lines, report.notes)


def _reader(file: Path, report: Report) -> SheetReader:
    match file.suffix.lower():
        case ".csv":
            return CsvReader(file, report, READ_COLUMNS)
        case ".xlsx":
            return XlsxReader(file, report, SHEET)
    raise _wrong_suffix(file)


def _wrong_suffix(file: Path) -> DecisionFileInvalid:
    what = f"the suffix {shown_cell(file.suffix)} does not work"
    return file_refusal(file, f"is no decision file: {what}", "Use .csv or .xlsx (which keeps long ids intact).")


def _refuse_unfit(file: Path) -> None:
    if not file.is_file():
        raise file_refusal(file, "is not there, or is not a file", "Name the file that holds the decisions.")
    if (size := file.stat().st_size) > LARGEST_FILE:
        what = f"is too large: {size // 1024**2} MB, of at most {LARGEST_FILE // 1024**2}"
        raise file_refusal(file, what, "Keep only lines that have a decision, or split it.")


# ------------------------------------------------------------------------------------------- from lines to decisions


def _cells(reader: SheetReader, report: Report) -> Iterator[tuple[int, dict[str, Cell]]]:
    """Yield each line below the header: column → cell."""
    rows = reader.rows()
    _, header = next(rows, (1, {}))
    problems = _problems_of(header)
    for problem in problems:
        report.add(1, problem)
    if problems:
        for below, row in islice(rows, _LINES_BEFORE_A_HEADER):
            if not _problems_of(row):
                report.add(below, "this line looks like the header; delete the lines above it")
        return
    names = {place: name for name, place in _named(header) if name in _COLUMNS}
    empty: dict[str, Cell] = dict.fromkeys(names.values(), "")
    reader.keep(names)
    for line, row in rows:
        yield line, empty | {names[place]: cell for place, cell in row.items()}


def _named(header: Mapping[Place, Cell]) -> list[tuple[str, Place]]:
    """Return the name of each column with its place; a file of version 0.5 has former names."""
    cells = [(cell.strip().lower(), place) for place, cell in header.items() if isinstance(cell, str)]
    return [(_FORMER_COLUMNS.get(name, name), place) for name, place in cells]


def _problems_of(header: Mapping[Place, Cell]) -> list[str]:
    """Return why the lines below ``header`` cannot be read; empty if they can."""
    if not header:
        return ["it is empty"]
    times = Counter(name for name, _ in _named(header))
    missing = [f"there is no column {name!r}" for name in NEEDED_COLUMNS if not times[name]]
    if missing and any(name.startswith("ï»¿") for name in times):
        missing = ["it was opened as another encoding than UTF-8 and saved so; its names are broken, too"]
    return missing + [f"there are {times[name]} columns {name!r}" for name in _COLUMNS if times[name] > 1]


def _lines(rows: Iterable[tuple[int, dict[str, Cell]]], report: Report) -> list[DecisionLine]:
    """Return the lines with a decision; their mistakes go into ``report``."""
    found: list[DecisionLine] = []
    suggested_on: dict[str, int] = {}
    for number, row in rows:
        suggested = _suggested(row)
        for passportal_id in suggested:
            suggested_on.setdefault(passportal_id, number)
        if not row["decision"]:
            continue
        cells = {name: plain_cell(row.get(name, "")) for name in READ_COLUMNS}
        if not cells["decision"]:
            continue
        state = {name: plain_cell(row[name]) for name in STATE_COLUMNS if name in row}
        problems = _problems(cells)
        problems += [f"{name} is {cell.what}" for name, cell in state.items() if isinstance(cell, Unusable)]
        for problem in problems:
            report.add(number, problem)
        if not problems:
            decision = _decision(number, cast("Mapping[str, str]", cells))
            found.append(DecisionLine(decision, cast("Mapping[str, str]", state), suggested))
    _refuse_inconsistent([line.decision for line in found], report)
    _refuse_moved(found, suggested_on, report)
    return found


def _suggested(row: Mapping[str, Cell]) -> dict[str, str]:
    found = {}
    for column, name_column in _SUGGESTED:
        passportal_id, name = plain_cell(row.get(column, "")), plain_cell(row.get(name_column, ""))
        if passportal_id and isinstance(passportal_id, str) and isinstance(name, str):
            found[passportal_id] = name
    return found


def _decision(line: int, cells: Mapping[str, str]) -> Decision:
    return Decision(
        verb=cells["decision"].lower(),
        entity=cells["entity"].lower(),
        bms_id=int(cells["bms_id"]),
        passportal_id=cells["match_to"] or None,
        allow_duplicate=cells["allow_duplicate"].lower() in _YES,
        why=cells["why"],
        line=line,
    )


def _problems(cells: Mapping[str, Cell]) -> list[str]:
    """Return the mistakes in one line with a decision."""
    bms_id, match_to, why = cells["bms_id"], cells["match_to"], cells["why"]
    problems = [
        *_word_problems(cells["entity"], cells["decision"], cells["allow_duplicate"], has_target=match_to != "")
    ]
    if isinstance(bms_id, Unusable):
        problems.append(f"bms_id is {bms_id.what}")
    elif not _ID.fullmatch(bms_id) or not 1 <= int(bms_id) <= _LAST_ID:
        problems.append(f"bms_id {shown_cell(bms_id)} is not a whole number from 1 to {_LAST_ID}")
    if isinstance(match_to, Unusable):
        problems.append(f"match_to is {match_to.what}")
    elif _SHORTENED_NUMBER.fullmatch(match_to):
        problems.append(f"match_to {shown_cell(match_to)} was shortened by a spreadsheet; enter the whole id, as text")
    if isinstance(why, Unusable):
        problems.append(f"why is {why.what}")
    return problems


# Cached, as the same few words are on every line.
@lru_cache(maxsize=1024)
def _word_problems(entity: Cell, verb: Cell, allow_duplicate: Cell, *, has_target: bool) -> tuple[str, ...]:
    problems = [
        f"{column} is {cell.what}" if isinstance(cell, Unusable) else f"{column} {shown_cell(cell)} is {expected}"
        for column, cell, words, expected in (
            ("entity", entity, BY_NAME, f"none of {', '.join(BY_NAME)}"),
            ("decision", verb, VERBS, f"none of {', '.join(VERBS)}"),
            ("allow_duplicate", allow_duplicate, _YES_OR_NO, "neither yes nor no"),
        )
        if isinstance(cell, Unusable) or cell.lower() not in words
    ]
    if isinstance(verb, str) and verb.lower() in VERBS:
        problems += _misplaced(verb.lower(), allow_duplicate, has_target=has_target)
    return tuple(problems)


def _misplaced(verb: str, allow_duplicate: Cell, *, has_target: bool) -> Iterator[str]:
    if verb in LINKS and not has_target:
        yield f"{verb} needs the Passportal id in the column match_to"
    if verb not in LINKS and has_target:
        yield f"match_to goes only with match and branch, and the decision is {verb}"
    if verb != Verb.CREATE and isinstance(allow_duplicate, str) and allow_duplicate.lower() in _YES:
        yield f"allow_duplicate goes only with create, and the decision is {verb}"


def _refuse_inconsistent(decisions: Iterable[Decision], report: Report) -> None:
    """Refuse two different decisions for one record, and two records for one Passportal id."""
    of_record: dict[tuple[str, int], Decision] = {}
    of_target: dict[tuple[str, str], Decision] = {}
    for decision in decisions:
        first = of_record.setdefault((decision.entity, decision.bms_id), decision)
        record = f"{decision.entity} {decision.bms_id}"
        if first is not decision:
            if replace(decision, line=first.line) != first:
                report.add(decision.line or 0, f"{record} has another decision on line {first.line}")
        elif decision.passportal_id is not None and decision.verb != Verb.BRANCH:
            rival = of_target.setdefault((decision.entity, decision.passportal_id), decision)
            if rival is not decision:
                what = f"{shown_cell(decision.passportal_id)} is already matched to {rival.bms_id} on line {rival.line}"
                report.add(decision.line or 0, f"{record}: {what}")


def _refuse_moved(lines: Sequence[DecisionLine], suggested_on: Mapping[str, int], report: Report) -> None:
    """Refuse ids on the wrong lines, where ``match_to`` was sorted, moved or filled down on its own.

    A person may choose an id which is not suggested. But nobody chooses two ids suggested on other lines, or three in a
    row that count up.
    """
    unsuggested = [
        line.decision
        for line in lines
        if suggested_on and line.decision.passportal_id and line.decision.passportal_id not in line.suggested
    ]
    moved = [decision for decision in unsuggested if decision.passportal_id in suggested_on]
    for decision in moved if len(moved) > 1 else ():
        on = suggested_on[decision.passportal_id or ""]
        what = f"match_to {shown_cell(decision.passportal_id or '')} is suggested on line {on} and not here"
        report.add(decision.line or 0, f"{what}; was the column sorted or moved on its own?")
    for run in _runs(unsuggested):
        for filled in run if len(run) > _LONGEST_RUN else ():
            what = f"match_to {shown_cell(filled.passportal_id or '')} counts up from line {run[0].line}"
            report.add(filled.line or 0, f"{what}, and is suggested on none of these lines; was it filled down?")


def _runs(decisions: Iterable[Decision]) -> list[list[Decision]]:
    """Group the decisions whose ids count up."""
    runs: list[list[Decision]] = []
    for decision in decisions:
        if runs and _follows(runs[-1][-1], decision):
            runs[-1].append(decision)
        else:
            runs.append([decision])
    return runs


def _follows(first: Decision, second: Decision) -> bool:
    """Return whether ``second`` has the id made by filling down from ``first``."""
    before, after = (_COUNTING.fullmatch(decision.passportal_id or "") for decision in (first, second))
    return bool(before and after and before[1] == after[1] and int(after[2]) == int(before[2]) + 1)


# ----------------------------------------------------------------------------------------------------------- writing

_WIDTHS = {"entity": 11, "bms_id": 12, "client": 28, "name": 32, "disposition": 14, "reason": 28, "matched_to": 14}
_OF_THE_PERSON = (
    Column("decision", 12, VERBS),
    Column("match_to", 22, is_text=True),  # so a long id, typed or pasted, is not rounded as a number
    Column("allow_duplicate", 9, ("yes", "no")),
    Column("why", 32),
)


def _columns_written(field_names: Sequence[str]) -> list[Column]:
    suggestions = [
        Column(f"suggestion_{number}{part}", width)
        for number in range(1, SUGGESTIONS + 1)
        for part, width in (("", 20), ("_name", 32), ("_score", 9), ("_evidence", 36))
    ]
    described = [Column(name, _WIDTHS.get(name, 20)) for name in (*RECORD_COLUMNS, *field_names)]
    return [*described, *_OF_THE_PERSON, *suggestions]


def _values(row: Row, field_names: Sequence[str]) -> list[Value]:
    values: list[Value] = [row.entity, row.bms_id, row.client, row.name, row.disposition, row.reason, row.matched_to]
    values += [row.fields.get(name) for name in field_names]
    values += [None] * len(_OF_THE_PERSON)
    for suggestion in row.suggestions[:SUGGESTIONS]:
        values += [suggestion.passportal_id, suggestion.name, round(suggestion.score, 3), suggestion.evidence]
    values += [None] * (4 * (SUGGESTIONS - len(row.suggestions)))
    return values
