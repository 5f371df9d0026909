"""A run's identity and heartbeat, as Dagster's instance keeps them: for a daemon in another container.

The daemon may see neither the run's process nor its home folder, but both reach the instance. The identity is a tag of
the run. The heartbeat is a row in the instance's key-value table, because a tag rewrites the whole run each time.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

import dagster as dg
import msgspec

from bms_pipeline.core import processes
from bms_pipeline.core.processes import Process

PROCESS_TAG = "bms_pipeline/process"
"""The tag of a run with the identity of its process. The daemon serves all tenants, so no tenant's name is in it."""
_GRACE_SECONDS = 5.0
"""A run that failed by itself ends its heartbeat within this time."""
_log = logging.getLogger(__name__)


def identity_of(run: dg.DagsterRun) -> Process | None:
    """Return the identity of the process working on ``run``; None where it left none."""
    try:
        return msgspec.json.decode(run.tags[PROCESS_TAG], type=Process)
    except (KeyError, ValueError):
        return None


def last_beat(instance: dg.DagsterInstance, run_id: str) -> float | None:
    """Return the time of the run's last heartbeat, in seconds since the epoch."""
    found = instance.daemon_cursor_storage.get_cursor_values({_key(run_id)})
    return float(found[_key(run_id)]) if found else None


@contextlib.contextmanager
def living(instance: dg.DagsterInstance, run_id: str, declared_dead: Callable[[], None]) -> Iterator[None]:
    """Show that the run is alive until the block ends. Call ``declared_dead`` once when the instance says otherwise."""
    identity = msgspec.json.encode(processes.this_process()).decode()
    instance.add_run_tags(run_id, {PROCESS_TAG: identity})
    ended = threading.Event()
    heart = _Heart(instance, run_id, ended, declared_dead)
    with processes.beating(heart.beat):
        try:
            yield
        finally:
            ended.set()


class _Heart:
    def __init__(
        self, instance: dg.DagsterInstance, run_id: str, ended: threading.Event, declared_dead: Callable[[], None]
    ) -> None:
        self._instance, self._run_id, self._ended, self._declared_dead = instance, run_id, ended, declared_dead
        self._is_dead = False

    def beat(self) -> None:
        """Beat once. A database that does not answer now must not end the run: the next beat tries again."""
        try:
            self._instance.daemon_cursor_storage.set_cursor_values({_key(self._run_id): f"{time.time():.3f}"})
            if not self._is_dead and self._counts_as_dead() and not self._ended.wait(_GRACE_SECONDS):
                self._is_dead = True
                _log.error("This run was declared dead. It writes nothing more.")
                self._declared_dead()
        except Exception:
            _log.warning("The heartbeat of this run could not be stored; it is tried again.", exc_info=True)

    def _counts_as_dead(self) -> bool:
        run = self._instance.get_run_by_id(self._run_id)
        return run is not None and run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def _key(run_id: str) -> str:
    return f"bms_pipeline/heartbeat/{run_id}"
