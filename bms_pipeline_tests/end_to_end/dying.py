"""Run the command line and die by SIGKILL at the n-th durable step (0: never, but say how many there were).

A step is the moment before or after a file gets its final name, a transaction of a database commits, or Passportal's
API is told to write: the moments at which what a crash leaves behind changes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

import duckdb

from bms_pipeline.cli import app, on_demand
from bms_pipeline.passportal import embedded
from bms_pipeline.passportal.documents.client import DocumentsClient
from bms_pipeline.warehouse import connection

Kind = Literal["file", "commit", "call"]
Transaction = Callable[[duckdb.DuckDBPyConnection], AbstractContextManager[None]]


class Steps:
    """The durable steps of this process, from now on. It dies at step ``die_at`` of ``kind``, or of either kind."""

    def __init__(self, die_at: int = 0, kind: Kind | None = None) -> None:
        self.taken: Counter[Kind] = Counter()
        self._die_at = die_at
        self._kind = kind
        for module in (connection, embedded):
            module.transaction = self._counting(module.transaction)  # type: ignore[attr-defined]
        for verb in ("create", "update"):
            setattr(DocumentsClient, verb, self._counting_call(getattr(DocumentsClient, verb)))
        sys.addaudithook(lambda event, _: self._take("file") if event == "os.rename" else None)

    def _take(self, kind: Kind) -> None:
        """Count a step, and die at the chosen one."""
        self.taken[kind] += 1
        if self._die_at and self._die_at == (self.taken[self._kind] if self._kind else self.taken.total()):
            os.kill(os.getpid(), signal.SIGKILL)

    def _counting(self, transaction: Transaction) -> Transaction:
        """``transaction`` with a step before and after its commit."""

        @contextmanager
        def counted(opened: duckdb.DuckDBPyConnection) -> Iterator[None]:
            with transaction(opened):
                yield
                self._take("commit")
            self._take("commit")

        return counted

    def _counting_call(self, call: Callable[..., None]) -> Callable[..., None]:
        """``call`` with a step before and after it."""

        def counted(*arguments: object) -> None:
            self._take("call")
            call(*arguments)
            self._take("call")

        return counted


def main() -> None:
    """Run ``bms-pipeline`` with the arguments of this process; ``DIE_OF``: only steps of this kind count."""
    on_demand.import_all()  # before anything counts
    die_at, kind = int(os.environ["DIE_AT"]), os.environ.get("DIE_OF")
    steps = Steps(die_at, kind)  # type: ignore[arg-type]
    try:
        app.main()
    finally:
        if not die_at:
            taken = steps.taken[kind] if kind else steps.taken.total()  # type: ignore[index]
            Path(os.environ["STEPS_FILE"]).write_text(str(taken), encoding="utf-8")


if __name__ == "__main__":
    main()
