"""Run the command line and die by SIGKILL at the n-th durable step (0: never, but say how many there were).

A step is the moment before or after a file gets its final name, or a transaction of either database commits: the
moments at which what a crash leaves behind changes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import duckdb

from bms_pipeline import cli
from bms_pipeline.passportal import embedded
from bms_pipeline.warehouse import connection

DIE_AT = int(os.environ["DIE_AT"])
_steps = 0


def step() -> None:
    """Count a step, and die at the chosen one."""
    global _steps
    _steps += 1
    if _steps == DIE_AT:
        os.kill(os.getpid(), signal.SIGKILL)


Transaction = Callable[[duckdb.DuckDBPyConnection], AbstractContextManager[None]]


def counting(transaction: Transaction) -> Transaction:
    """``transaction`` with a step before and after its commit."""

    @contextmanager
    def counted(opened: duckdb.DuckDBPyConnection) -> Iterator[None]:
        with transaction(opened):
            yield
            step()
        step()

    return counted


def main() -> None:
    """Run ``bms-pipeline`` with the arguments of this process."""
    for module in (connection, embedded):
        module.transaction = counting(module.transaction)  # type: ignore[attr-defined]
    sys.addaudithook(lambda event, _: step() if event == "os.rename" else None)
    try:
        cli.main()
    finally:
        if not DIE_AT:
            Path(os.environ["STEPS_FILE"]).write_text(str(_steps), encoding="utf-8")


if __name__ == "__main__":
    main()
