"""The strikes really strike, and what they are chosen from is all that the product does."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from bms_pipeline_tests.strikes.bench import Bench
from bms_pipeline_tests.strikes.scenarios import SCENARIOS, Undisturbed
from bms_pipeline_tests.strikes.shim import NoCompiler, built_shim
from bms_pipeline_tests.strikes.strikes import (
    CALLS,
    KINDS,
    Kind,
    NotStruck,
    Strike,
    as_text,
    choose,
    held,
    kinds_of,
    parse_story,
)
from bms_pipeline_tests.strikes.test_strikes import QUICK_SCENARIOS, parameters

FINISH = SCENARIOS["finish-documents_api"]


@pytest.fixture(scope="module")
def finished(seen: Callable[[str], Undisturbed]) -> Undisturbed:
    """What an undisturbed finish by Passportal's API does."""
    return seen(str(FINISH))


def test_the_quick_suite_deals_sixty_strikes_of_every_kind_and_a_soak_five_hundred() -> None:
    dealt = [
        (kind, any(mark.name == "soak" for mark in story.marks))
        for story in parameters()
        for kind in story.values[0].kinds
    ]
    quick = Counter(kind for kind, in_soak in dealt if not in_soak)
    soak = Counter(kind for kind, in_soak in dealt if in_soak)
    assert quick.total() >= 60
    assert soak.total() >= 500
    assert set(quick) == set(soak) == set(KINDS)
    assert {SCENARIOS[name].target for name in QUICK_SCENARIOS} == {"embedded", "documents_api"}


def test_every_durable_step_and_call_is_seen_also_those_of_the_database(finished: Undisturbed) -> None:
    functions = {name.partition("@")[0] for name in finished.steps}
    assert functions == {"open", "write", "fsync", "rename", "unlink", "truncate", "mkdir"}
    assert {"write@warehouse.duckdb", "write@warehouse.duckdb.wal", "fsync@warehouse.duckdb"} <= set(finished.steps)
    assert {"Passportal POST /api/v{n}/documents", "Passportal PUT /api/v{n}/documents/{n}"} <= set(finished.calls)


@pytest.mark.parametrize("kind", KINDS)
def test_the_places_of_a_kind_lead_to_different_strikes_that_read_back(finished: Undisturbed, kind: Kind) -> None:
    assert kind in kinds_of(FINISH)
    strikes = [choose(FINISH, kind, finished, place / 10, place) for place in range(10)]
    assert len(set(strikes)) == 10
    assert parse_story(as_text(strikes)) == strikes
    for strike in strikes if kind != "random" else ():
        assert 1 <= strike.nth <= (finished.calls if kind in CALLS else finished.steps)[strike.what]


def test_a_kill_comes_at_the_step_that_is_named(bench: Bench) -> None:
    case = FINISH.case(bench)
    assert case.run(*FINISH.command(case), kind="step-before", what="write@run.owner.json", nth=1) == -signal.SIGKILL
    assert case.reported() == ["write\trun.owner.json"]
    assert (case.home / "run.owner.json").read_text() == ""


def test_a_torn_write_leaves_its_first_half(bench: Bench) -> None:
    whole, torn = FINISH.case(bench), FINISH.case(bench)
    assert whole.run(*FINISH.command(whole)) == 0
    assert torn.run(*FINISH.command(torn), kind="torn", what="write@run.owner.json", nth=1) == -signal.SIGKILL
    left, right = ((case.home / "run.owner.json").read_text() for case in (torn, whole))
    assert 0 < len(left) < len(right)
    assert left[:20] == right[:20]


@pytest.mark.parametrize(("kind", "says"), [("enospc", "No space left"), ("eio", "Input/output error")])
def test_a_disk_that_fails_goes_on_failing_until_the_process_ends(bench: Bench, kind: str, says: str) -> None:
    case = FINISH.case(bench)
    before = case.warehouse_file.stat().st_size
    code = case.run(*FINISH.command(case), kind=kind, what="write@warehouse.duckdb.wal", nth=1)  # type: ignore[arg-type]
    assert (code, says in case.last_output()) == (1, True), case.last_output()
    assert case.warehouse_file.stat().st_size == before
    assert not case.is_damaged()


def test_a_step_that_no_run_takes_is_no_strike_that_held(bench: Bench, finished: Undisturbed) -> None:
    with pytest.raises(NotStruck):
        held(bench, [Strike(str(FINISH), "step-before", "write@no-such-file", 1)], finished)


def test_a_damaged_database_is_known_for_one(bench: Bench) -> None:
    case = FINISH.case(bench)
    assert not case.is_damaged()
    with case.warehouse_file.open("r+b") as file:
        file.write(bytes(8192))
    assert case.is_damaged()
    with pytest.raises(duckdb.Error):
        case.warehouse("SELECT 1")


def test_without_a_compiler_the_suite_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompiler, match=r"no cc, gcc or clang on PATH.*apt-get install gcc"):
        built_shim(tmp_path)


def test_a_compiler_without_headers_is_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'fatal error: stdio.h: No such file' >&2; exit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(NoCompiler, match=r"(?s)stdio\.h: No such file.*libc6-dev"):
        built_shim(tmp_path)
