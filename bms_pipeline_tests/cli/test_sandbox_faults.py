"""``sandbox run --fault NAME``: a person sees what each fault does to a run, and that nothing is loaded by it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bms_pipeline.cli.sandbox import FaultName
from bms_sandbox.behaviour import NAMED_FAULTS, Behaviour, switches_of

CLI = [sys.executable, "-m", "bms_pipeline.cli"]


def run_in_sandbox(home: Path, command: list[str], *faults: str) -> subprocess.CompletedProcess[str]:
    options = [part for fault in faults for part in ("--fault", fault)]
    return subprocess.run(
        [*CLI, "sandbox", "run", "--size", "small", "--home", str(home), *options, "--", *CLI, *command],
        env={"PATH": os.environ["PATH"], "HOME": str(home)}, cwd=home, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip


def test_every_name_has_switches_that_the_sandbox_knows() -> None:
    assert set(FaultName) == set(NAMED_FAULTS)
    for name in NAMED_FAULTS:
        assert Behaviour().changed(switches_of([name])) != Behaviour()
    together = Behaviour().changed(switches_of(NAMED_FAULTS))
    assert (len(together.faults), together.halved, together.latency_seconds) == (3, True, 2.0)


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    ran = run_in_sandbox(tmp_path, ["status"], "earthquake")
    assert ran.returncode == 1
    assert "earthquake" in ran.stderr
    assert all(name in ran.stderr for name in FaultName)
    assert list(tmp_path.iterdir()) == [], "nothing was started"


def test_help_lists_every_name() -> None:
    ran = subprocess.run(
        [*CLI, "sandbox", "run", "--help"], env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert all(name in ran.stdout for name in FaultName)


@pytest.mark.parametrize(("fault", "words"), [("refused-login", "refused the sign-in"), ("outage", "503")])
def test_a_fault_ends_in_one_message_about_it(tmp_path: Path, fault: str, words: str) -> None:
    ran = run_in_sandbox(tmp_path, ["authenticate"], fault)
    assert ran.returncode == 1
    assert f"fails on purpose: {fault}" in ran.stderr
    assert words in ran.stderr
    assert "Next:" in ran.stderr


def test_a_halved_tenant_opens_a_breaker_after_a_first_sync(tmp_path: Path) -> None:
    assert run_in_sandbox(tmp_path, ["sync", "--create-unmatched"]).returncode == 0
    ran = run_in_sandbox(tmp_path, ["sync", "--full"], "halved-tenant")
    assert ran.returncode == 1
    assert "gone" in ran.stderr
    assert run_in_sandbox(tmp_path, ["sync", "--full"]).returncode == 0, "the next sync finds them again"
