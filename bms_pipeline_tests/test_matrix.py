"""`make matrix`: which Pythons it finds, and what it says of them. Interpreters and `make` are little shell scripts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "matrix.py"
NOT_ACTIVE = "echo 'pyenv: command not found' >&2; exit 127"
SUITE = '<testsuites><testsuite tests="{tests}" failures="{failures}" errors="{errors}" skipped="1"/></testsuites>'


def program(file: Path, script: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def python(file: Path, version: str) -> None:
    """An interpreter that says where it is and which one it is, whatever it is asked."""
    program(file, f"echo {file}; echo {version}")


def suite_ends(project: Path, code: int, *, tests: int = 0, failures: int = 0, errors: int = 0) -> None:
    """`make` writes the report that pytest is asked for, unless it holds no test, and ends with ``code``."""
    report = SUITE.format(tests=tests, failures=failures, errors=errors)
    write = f"mkdir -p $(dirname ${{PYTEST_ADDOPTS##*=}}); echo '{report}' > ${{PYTEST_ADDOPTS##*=}};"
    program(project / "bin" / "make", f'echo "asked: $*"; {write if tests else ""} exit {code}')


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the script in it, and a suite that passes."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci")
    suite_ends(tmp_path, 0, tests=11)
    return tmp_path


def matrix(project: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{project / 'bin'}:/bin",
        "PYENV_ROOT": str(project / "pyenv"),
        "HOME": str(project),
    }
    for name in ("3.11", "3.12", "3.13", "3.14"):
        if not (project / "bin" / f"python{name}").exists():  # hides one that this machine has
            program(project / "bin" / f"python{name}", NOT_ACTIVE)
    command = [sys.executable, str(project / ".ci" / "matrix.py")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_it_finds_what_is_on_the_path_and_in_pyenv_and_says_what_is_missing(project: Path) -> None:
    python(project / "bin" / "python3.11", "3.11.9")
    for version in ("3.9.1", "3.12.1", "3.13.0", "3.13.10", "3.13.9", "3.11.2"):
        python(project / "pyenv" / "versions" / version / "bin" / "python", version)
    program(project / "pyenv" / "versions" / "3.14.0" / "bin" / "python", "echo 'No module named _ssl' >&2; exit 1")
    result = matrix(project)
    assert result.returncode == 0, result.stderr
    asked = [line for line in result.stdout.splitlines() if line.startswith("asked")]
    assert [line.split("PYTHON=")[1].split()[:2] for line in asked] == [
        [str(project / "bin" / "python3.11"), "VENV=.venv-3.11"],
        [str(project / "pyenv" / "versions" / "3.12.1" / "bin" / "python"), "VENV=.venv-3.12"],
        [str(project / "pyenv" / "versions" / "3.13.10" / "bin" / "python"), "VENV=.venv-3.13"],
    ], "of several in pyenv the newest"
    assert result.stdout.splitlines()[-1] == "Not found on PATH or in pyenv, so not tried: 3.14."


def test_it_ends_with_a_table_and_fails_if_one_run_does(project: Path) -> None:
    python(project / "bin" / "python3.11", "3.11.9")
    suite_ends(project, 2, tests=20, failures=3, errors=4)
    result = matrix(project)
    assert result.returncode == 1
    table = [line.split() for line in result.stdout.splitlines()[-3:-1]]
    assert table[0] == ["interpreter", "passed", "failed", "seconds"]
    assert table[1][:4] == ["3.11.9", str(project / "bin" / "python3.11"), "12", "7"], "one is skipped"


def test_a_run_that_does_not_get_as_far_as_pytest_is_no_success(project: Path) -> None:
    python(project / "bin" / "python3.11", "3.11.9")
    (project / ".venv-3.11").mkdir()
    (project / ".venv-3.11" / "suite.xml").write_text("of an earlier run")
    suite_ends(project, 2)
    result = matrix(project)
    assert result.returncode == 1
    assert "did not run" in result.stdout


def test_without_any_python_it_says_so_and_fails(project: Path) -> None:
    result = matrix(project)
    assert result.returncode == 1
    assert "There is no Python to run the suite on." in result.stderr
    assert "3.11, 3.12, 3.13, 3.14" in result.stdout
