"""Syncs on a virtual clock, each in a process of its own that may be killed; run as a module it is what forks them.

A fresh interpreter would import for a second before each sync. So one process imports everything once, opens nothing,
starts no thread, and forks a child for each order that it reads.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import msgspec
import time_machine

from bms_pipeline.bms.budget import Budget
from bms_pipeline.bms.client import BmsClient
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.settings import Settings
from bms_pipeline.state.call_file import CallFile
from bms_pipeline.sync import loading, planning, run_lock, services, whole_sync
from bms_pipeline.warehouse.connection import connect, open_warehouse
from bms_pipeline_tests.end_to_end.dying import Steps

Verb = Literal["scheduled", "prepare", "finish", "look"]


class Death(msgspec.Struct):
    """When a sync is killed: at a durable step of a kind, or after so many seconds."""

    kind: Literal["file", "commit", "seconds"]
    at: float


class Order(msgspec.Struct):
    """One sync: its verb, the settings, the moment (seconds since the epoch) at which its clock starts.

    ``kept_open``: the database files stay open while it runs, with one thread each. Opening them takes most of the time
    of a sync of few records; what is committed is durable all the same, and a kill leaves more to be recovered.
    """

    verb: Verb
    settings: dict[str, str]
    now: float
    death: Death | None = None
    kept_open: bool = False


class Ended(msgspec.Struct):
    """How a sync ended.

    ``error``: class of the error it told; ``defect``: a traceback that nobody should see. ``operations``: what its plan
    held; ``done``: how many of its records were created, adopted, updated, failed. ``used``: calls of the last hour by
    endpoint. ``steps``: durable steps by kind.
    """

    killed: bool = False
    error: str = ""
    message: str = ""
    defect: str = ""
    operations: int = 0
    waits: bool = False
    done: dict[str, int] = {}
    used: dict[str, int] = {}
    steps: dict[str, int] = {}

    @property
    def succeeded(self) -> bool:
        """Whether it came to its end."""
        return not (self.killed or self.error or self.defect)


def scheduled_sync(settings: Settings) -> Ended:
    """What the schedule starts: load what the standing approval allows."""
    warehouse = open_warehouse(settings)
    with run_lock.running(settings):
        before = planning.current_plan(warehouse)
        plan = whole_sync.incremental(settings)
        if plan.plan_id == before.plan_id:
            return Ended()
        done = _total(planning.count_results(warehouse))
        return Ended(operations=plan.operations, waits=planning.waits_for_person(warehouse), done=done)


def prepare(settings: Settings) -> Ended:
    """A person has everything created that waits for nothing but a decision, and looks at the plan."""
    with run_lock.running(settings):
        return Ended(operations=whole_sync.prepare(settings, create_unmatched_by="a person").operations)


def finish(settings: Settings) -> Ended:
    """A person finishes the plan."""
    with run_lock.running(settings):
        warehouse = open_warehouse(settings)
        plan = planning.current_plan(warehouse)
        with contextlib.closing(services.open_target(settings)) as target:
            planning.approve(settings, warehouse, target, plan.hash, "a person")
        return Ended(operations=plan.operations, done=_total(loading.finish(settings).results))


def look(settings: Settings) -> Ended:
    """A preview, reading everything: what would be done now."""
    return Ended(operations=whole_sync.prepare(settings, full=True).operations)


VERBS = {"scheduled": scheduled_sync, "prepare": prepare, "finish": finish, "look": look}


def _total(results: dict[Any, dict[str, int]]) -> dict[str, int]:
    return {
        each: sum(counts[each] for counts in results.values()) for each in ("created", "adopted", "updated", "failed")
    }


def carry_out(order: Order) -> Ended:
    """Run a sync in this process, on its virtual clock; may not return."""
    settings = Settings(_env_file=None, **order.settings)  # type: ignore[call-arg, arg-type]
    # Waiting between two tries would take hours of a month, and nothing here depends on it.
    impatient = mock.patch.object(services, "BmsClient", partial(BmsClient, sleep=lambda _: None))
    with impatient, time_machine.travel(order.now, tick=True), contextlib.ExitStack() as held:
        death = order.death if order.death and order.death.kind != "seconds" else None
        steps = Steps(int(death.at), death.kind) if death else Steps()  # type: ignore[arg-type]
        for file in (settings.warehouse_file, settings.passportal_file) if order.kept_open else ():
            held.enter_context(contextlib.closing(connect(file))).execute("SET threads = 1")
        try:
            ended = VERBS[order.verb](settings)
        except PipelineError as error:
            ended = Ended(error=type(error).__name__, message=str(error))
        except Exception:
            ended = Ended(defect=traceback.format_exc())
        with contextlib.closing(Budget(CallFile(settings.budget_file), settings.bms_calls_per_hour)) as budget:
            ended.used = {endpoint: usage["used"] for endpoint, usage in budget.usage().items()}
        ended.steps = dict[str, int](steps.taken.items())
    return ended


def _forked(order: Order) -> Ended:
    """Carry out an order in a child, and kill that when it is time."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.write(writing, msgspec.json.encode(carry_out(order)))
        os._exit(0)
    os.close(writing)
    seconds = order.death.at if order.death and order.death.kind == "seconds" else None
    if not select.select([reading], [], [], seconds)[0]:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if said:
        return msgspec.json.decode(said, type=Ended)
    return Ended(killed=True) if ended == -signal.SIGKILL else Ended(defect=f"the process ended with {ended}")


class Ticks:
    """The process that forks, seen from outside."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def run(self, order: Order) -> Ended:
        """Carry out one order."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Ended)


@contextlib.contextmanager
def running_ticks() -> Iterator[Ticks]:
    """The process that forks; it ends with the context."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        try:
            yield Ticks(process)
        finally:
            assert process.stdin
            process.stdin.close()


def main() -> None:
    """Carry out the orders on standard input, one JSON object a line, each answered by a line."""
    for line in sys.stdin:
        ended = _forked(msgspec.json.decode(line, type=Order))
        sys.stdout.write(json.dumps(msgspec.to_builtins(ended)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
