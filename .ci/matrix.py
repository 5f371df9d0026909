"""Run the quick suite on each Python from 3.11 to 3.14 that this machine has, each in an environment of its own.

Interpreters are looked for on PATH and among pyenv's versions, active or not. Exits with 1 if a run fails, or if there
is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

SUPPORTED = [(3, 11), (3, 12), (3, 13), (3, 14)]
ROOT = Path(__file__).parent.parent
# An interpreter that was built without one of these can make no environment or run no suite.
_PROBE = "import ensurepip, sqlite3, ssl, sys; print(sys.executable, '%d.%d.%d' % sys.version_info[:3], sep='\\n')"


@dataclass
class Interpreter:
    """A Python that can run the suite."""

    path: str
    version: tuple[int, ...]

    @property
    def minor(self) -> str:
        """``3.12``."""
        return f"{self.version[0]}.{self.version[1]}"


@dataclass
class Run:
    """How the suite ended on an interpreter; ``passed`` and ``failed`` are None where it did not run to its end."""

    interpreter: Interpreter
    succeeded: bool
    seconds: float
    passed: int | None = None
    failed: int | None = None


def main() -> int:
    """Run all, print a table, and return the exit code."""
    interpreters = found()
    missing = [f"{major}.{minor}" for major, minor in SUPPORTED if (major, minor) not in interpreters]
    runs = [run(interpreter) for _, interpreter in sorted(interpreters.items())]
    print_table(runs)
    if missing:
        print(f"Not found on PATH or in pyenv, so not tried: {', '.join(missing)}.")
    if not runs:
        print("There is no Python to run the suite on. Install one: pyenv install 3.13", file=sys.stderr)
    return 0 if runs and all(run.succeeded for run in runs) else 1


def found() -> dict[tuple[int, ...], Interpreter]:
    """Return the interpreter of each supported version: that on PATH, else pyenv's newest."""
    on_path = [shutil.which(f"python{major}.{minor}") for major, minor in SUPPORTED]
    in_pyenv = [interpreter for path in pyenv_versions() if (interpreter := probed(str(path)))]
    candidates = [interpreter for path in on_path if path and (interpreter := probed(path))]
    candidates += sorted(in_pyenv, key=lambda interpreter: interpreter.version, reverse=True)
    chosen: dict[tuple[int, ...], Interpreter] = {}
    for interpreter in candidates:
        if interpreter.version[:2] in SUPPORTED:
            chosen.setdefault(interpreter.version[:2], interpreter)
    return chosen


def pyenv_versions() -> list[Path]:
    """Return every interpreter that pyenv has installed; pyenv itself need not be set up in this shell."""
    root = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    if pyenv := shutil.which("pyenv"):
        asked = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)
        root = asked.stdout.strip() or root
    return sorted(Path(root).glob("versions/3.*/bin/python"))


def probed(path: str) -> Interpreter | None:
    """Return the interpreter at ``path``; None where it does not run, as pyenv's stand-in for an inactive version."""
    try:
        answer = subprocess.run([path, "-c", _PROBE], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode:
        return None
    executable, version = answer.stdout.splitlines()
    return Interpreter(executable, tuple(int(part) for part in version.split(".")))


def run(interpreter: Interpreter) -> Run:
    """Run ``make test`` in the interpreter's own environment."""
    environment = f".venv-{interpreter.minor}"
    report = ROOT / environment / "suite.xml"
    print(f"\n== Python {interpreter.minor}: {interpreter.path}", flush=True)
    report.unlink(missing_ok=True)
    options = f"{os.environ.get('PYTEST_ADDOPTS', '')} --junitxml={report}"
    command = ["make", "--no-print-directory", f"PYTHON={interpreter.path}", f"VENV={environment}", "test"]
    began = time.monotonic()
    code = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTEST_ADDOPTS": options}, check=False).returncode
    ended = Run(interpreter, code == 0, time.monotonic() - began)
    if report.exists():
        suite = ElementTree.parse(report).getroot()[0]
        tests, errors, failures, skipped = (
            int(suite.attrib[name]) for name in ("tests", "errors", "failures", "skipped")
        )
        ended.failed = errors + failures
        ended.passed = tests - ended.failed - skipped
    return ended


def print_table(runs: list[Run]) -> None:
    """Print a line for each run."""
    rows = [["interpreter", "passed", "failed", "seconds"]]
    for ended in runs:
        version = ".".join(str(part) for part in ended.interpreter.version)
        counts = [str(count) if count is not None else "did not run" for count in (ended.passed, ended.failed)]
        rows.append([f"{version}  {ended.interpreter.path}", *counts, f"{ended.seconds:.0f}"])
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    print()
    for name, *numbers in rows:
        print(name.ljust(widths[0]), *(number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)))


if __name__ == "__main__":
    sys.exit(main())
