"""Every property test explores: ``make soak`` runs all of them, with many examples that differ from run to run."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from os import environ
from pathlib import Path

import pytest
from hypothesis import settings

from bms_pipeline_tests.exploring import examples

TESTS = Path(__file__).parent
DRAWS_INPUT, DRAWS_ONE_RUN = TESTS / "http" / "test_addresses.py", TESTS / "reconcile" / "test_any_history.py"
FREE = ("conftest.py", "exploring.py", "tenants.py")
"""Where settings of hypothesis may be made; ``stranger/tenants.py`` draws tenants by a seed of its own."""


@pytest.fixture
def soaking() -> Iterator[None]:
    settings.load_profile("soak")
    yield
    settings.load_profile(environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.mark.usefixtures("soaking")
def test_in_soak_a_test_with_its_own_number_of_examples_draws_more_and_new_ones() -> None:
    found = examples(3, 60)
    assert (found.max_examples, found.derandomize, found.print_blob) == (60, False, True)
    assert settings().max_examples >= 100
    assert not settings().derandomize


def test_no_test_settles_for_itself_what_it_draws() -> None:
    """A test that names ``settings`` of its own would draw the same few examples in soak too."""
    own = []
    for file in sorted(TESTS.rglob("*.py")):
        if file.name in FREE or file == Path(__file__) or "hypothesis" not in (text := file.read_text("utf-8")):
            continue
        imported = [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.ImportFrom)]
        own += [
            str(file.relative_to(TESTS))
            for each in imported
            if (each.module or "").startswith("hypothesis")
            and {name.name for name in each.names} & {"settings", "seed", "reproduce_failure"}
        ]
    assert own == []


def test_property_tests_and_state_machines_are_collected_for_soak_without_anybody_marking_them() -> None:
    shown = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-m",
            "explores",
            str(DRAWS_INPUT),
            str(DRAWS_ONE_RUN),
        ],
        env={**environ, "HYPOTHESIS_PROFILE": "soak"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    ).stdout
    assert {line.rpartition("::")[2] for line in shown.splitlines() if "::" in line} == {
        "test_whatever_stands_there_is_an_address_or_a_setting_to_correct",
        "runTest",
    }
