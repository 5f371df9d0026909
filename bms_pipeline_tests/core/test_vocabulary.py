"""One word for each thing: code and SQL name dispositions, operations, outcomes and decisions from one place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import bms_pipeline
from bms_pipeline.core.reasons import Reason
from bms_pipeline.core.vocabulary import WAITS_FOR_DECISION, Count, Disposition, Operation, Outcome, Verb, words

PACKAGE = Path(bms_pipeline.__file__).parent
MODULES = {
    file.relative_to(PACKAGE).as_posix(): ast.parse(file.read_text(encoding="utf-8"))
    for file in sorted(PACKAGE.rglob("*.py"))
}
OF_COLUMN = {
    "disposition": {*Disposition},
    "operation": {*Operation},
    "outcome": {*Outcome, *Count},
    "verb": {*Verb},
    "reason": {*Reason},
}
COMPARED = re.compile(
    r"(?<!\w)(disposition|operation|outcome|verb|reason)\s*(?:=|<>|(?:NOT )?IN)\s*('[^']*'|\((?:'[^']*'(?:,\s*)?)+\))"
)
OTHER_MEANINGS = {
    ("cli/printing.py", "unknown"): "a key of `status --json`",
    ("cli/output.py", "done"): "a key of `--log-json`",
    ("core/mapping.py", "skip"): "what becomes of a value without a word",
    ("cli/printing.py", "refused"): "a key of the plan shown",
    ("cli/printing.py", "blocked"): "a count of the plan shown",
    ("console/pages/history.py", "*"): "columns of the overview, which add up standings",
    ("console/pages/loads.py", "*"): "words for people",
    ("console/runs.py", "*"): "the words of a run",
    ("defs/assets/load.py", "refused"): "a name in Dagster's metadata",
    ("defs/assets/reconcile.py", "blocked"): "a count of the plan shown",
    ("defs/decisions.py", "*"): "names of Dagster's jobs",
    ("defs/pages.py", "create"): "a key of a job's configuration",
    ("cli/decide.py", "*"): "names of commands",
    ("plan/operations.py", "*"): "counts by outcome, `entities` of `status --json`",
    ("plan/standings.py", "*"): "standings, which have their own spelling for people",
    ("reports/figures.py", "*"): "keys of `status --json`",
    ("reports/plan_preview.py", "*"): "labels of counts and keys of the plan shown",
    ("spreadsheet/decisions.py", "*"): "a column of the spreadsheet",
    ("sync/extraction.py", "*"): "columns of sync.sweeps",
    ("warehouse/outcomes.py", "*"): "names of bound values",
    ("load/journal.py", "refused"): "the name of a bound value",
    ("doctor/write_trial.py", "refused"): "a fact's value",
    ("passportal/documents/habits.py", "update"): "a guess about writes",
    ("support/report.py", "done"): "a key of the report",
}
"""Where a text that is also a word of the vocabulary means something else: file and text, or every text of a file."""


def texts() -> Iterator[tuple[str, str]]:
    """File → every SQL text and every string of Python's in it."""
    for file in sorted(PACKAGE.rglob("*.sql")):
        if "migrations" not in file.parts:
            yield file.relative_to(PACKAGE).as_posix(), file.read_text(encoding="utf-8")
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield name, node.value


def test_sql_compares_with_words_of_the_vocabulary_only() -> None:
    compared, unknown = 0, []
    for file, text in texts():
        for column, literals in COMPARED.findall(text):
            found = re.findall(r"'([^'{]*)'", literals)
            compared += len(found)
            unknown += [(file, column, word) for word in found if word not in OF_COLUMN[column]]
    assert compared > 80
    assert not unknown


def test_python_names_dispositions_operations_and_outcomes_by_their_types() -> None:
    known = {*Disposition, *Operation, *Outcome}
    quoted = {
        (name, node.value)
        for name, tree in MODULES.items()
        if name not in ("core/vocabulary.py", "core/reasons.py")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in known
    }
    assert {each for each in quoted if each not in OTHER_MEANINGS and (each[0], "*") not in OTHER_MEANINGS} == set()


def test_python_names_reasons_by_their_type() -> None:
    other_meanings = {
        "match": "a verb",
        "unchanged": "a count",
        "handed_over": "an outcome",
        "no_place": "a column",
        "template_unknown": "says why Passportal takes no new records",
        "no_place_for_marker": "says why Passportal takes no new records",
        "bms_wins": "an owner",
        "category": "a key of the mapping",
        "bms_changed": "a question of a plan",
        "inactive": "a command, and an option of the mapping",
        "taken_back": "the name of a bound value",
    }
    quoted = {
        (name, node.value)
        for name, tree in MODULES.items()
        if name != "core/reasons.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in {*Reason}
    }
    assert {each for each in quoted if each[1] not in other_meanings} == set()


def test_every_reason_is_given_somewhere() -> None:
    """``client_`` is put before the disposition, or the standing, of the client."""
    everything = " ".join(text for _, text in texts())
    names = {node.attr for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert "'client_' ||" in everything
    unused = {
        reason.value
        for reason in Reason
        if reason.name not in names and not reason.startswith("client_") and f"'{reason}'" not in everything
    }
    assert unused == set()


def test_no_code_compares_or_searches_a_message() -> None:
    """A sentence is for people: an editor may change it, and nothing else may change with it."""
    searched = [
        f"{name}:{node.lineno}"
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Compare) and any(map(_is_sentence, [node.left, *node.comparators])))
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"startswith", "endswith", "find", "index", "partition", "rpartition", "split"}
            and _is_message(node.func.value)
        )
    ]
    assert searched == []


def _is_message(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in {"message", "next_step"}


def _is_sentence(node: ast.expr) -> bool:
    return _is_message(node) or (isinstance(node, ast.Call) and ast.unparse(node).startswith("str(error"))


def test_a_loop_variable_is_called_by_what_it_is() -> None:
    anonymous = [
        f"{name}:{target.lineno}"
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension)
        for target in ast.walk(node.target)
        if isinstance(target, ast.Name) and target.id == "each"
    ]
    assert anonymous == []


@pytest.mark.parametrize("former", ["to create", "TO CREATE", "out of scope", "Out of scope", " matched "])
def test_the_spelling_of_version_0_5_is_read(former: str) -> None:
    assert words(Disposition(former)) == former.strip().lower()


def test_nothing_else_is_a_disposition() -> None:
    for wrong in ("", "waiting", "match", "to-create"):
        with pytest.raises(ValueError, match="not a valid Disposition"):
            Disposition(wrong)
    assert set(WAITS_FOR_DECISION) < set(Disposition)
