"""Templates and SQL are texts that people read: no line is too long, and a query says which question it answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlfluff.core import FluffConfig, Linter

import bms_pipeline
import bms_sandbox

PACKAGES = [Path(package.__path__[0]) for package in (bms_pipeline, bms_sandbox)]
LONGEST = {".j2": 160, ".sql": 140}
TEXTS = sorted(text for package in PACKAGES for text in package.rglob("*") if text.suffix in LONGEST)
QUERIES = [text for text in TEXTS if text.suffix == ".sql" and text.parent.name != "migrations"]
COMMENT = re.compile(r"(?:--.*\n)*")
SENTENCE = re.compile(r".*?[.?!](?=\s|$)", re.DOTALL)
"""A point in a name or a number ends no sentence."""


def named(texts: list[Path]) -> list[object]:
    """Return ``texts`` as parameters, each under its name in its package."""
    folders = {package.parent for package in PACKAGES}
    return [
        pytest.param(text, id=str(text.relative_to(next(f for f in folders if f in text.parents)))) for text in texts
    ]


def first_sentence(query: str) -> str:
    """Return the first sentence of the comment that begins ``query``; empty where there is none."""
    comment = COMMENT.match(query)
    assert comment is not None
    words = " ".join(line.removeprefix("--").strip() for line in comment.group().splitlines())
    sentence = SENTENCE.match(words)
    return sentence.group() if sentence else ""


def test_templates_and_queries_are_found() -> None:
    assert {text.suffix for text in TEXTS} == {*LONGEST}
    assert QUERIES


@pytest.mark.parametrize("text", named(TEXTS))
def test_no_line_is_too_long(text: Path) -> None:
    lines = text.read_text(encoding="utf-8").splitlines()
    longest = LONGEST[text.suffix]
    assert [f"line {number}" for number, line in enumerate(lines, 1) if len(line) > longest] == []


@pytest.mark.parametrize("query", named(QUERIES))
def test_a_query_begins_with_the_question_it_answers(query: Path) -> None:
    assert first_sentence(query.read_text(encoding="utf-8")).endswith("?")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("-- Which are due?\nSELECT 1", "Which are due?"),
        ("-- Which of sync.matches,\n-- are due? All.\nSELECT 1", "Which of sync.matches, are due?"),
        ("-- Those that are due. Which?\nSELECT 1", "Those that are due."),
        ("SELECT 1 -- Why?", ""),
    ],
)
def test_a_question_is_told_from_other_comments(query: str, sentence: str) -> None:
    assert first_sentence(query) == sentence


@pytest.mark.parametrize(
    ("query", "rules"),
    [
        ("SELECT a FROM bms.{entity} WHERE bms_id = $bms_id\n", set()),
        ("FROM sync.planned_{entity} SEMI JOIN (FROM done) USING (bms_id)\n", set()),
        ("INSERT INTO {table} BY NAME SELECT * REPLACE ({values}) FROM seen WHERE {where} ORDER BY {order}\n", set()),
        ("SELECT list_filter([{kept}], lambda e: e IS NOT NULL) FROM t QUALIFY count(*) OVER () > 1\n", set()),
        ("SELECT a -> '$.entities', to_json({record}) FROM t GROUP BY ALL\n", set()),
        ("SELECT a FROM bms.{entity} WHERE bms_id = = $bms_id\n", {"PRS"}),
        ("SELECT (a FROM t\n", {"PRS"}),
        ("SELECT a ,b FROM t where a = NULL\n", {"LT01", "CP01", "CV05"}),
    ],
)  # fmt: skip
def test_lint_parses_queries_with_their_placeholders(query: str, rules: set[str]) -> None:
    config = FluffConfig.from_path(str(PACKAGES[0].parent))
    assert rules == {violation.rule_code() for violation in Linter(config).lint_string(query).violations}
