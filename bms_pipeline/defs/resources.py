"""What a run works with: the home folder and its services, the scope, and a person's approval."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from bms_pipeline import sync
from bms_pipeline.bms.client import BmsClient
from bms_pipeline.defs.failures import told_to_the_operator
from bms_pipeline.errors import LoginRefused, PlanStale, SettingsError
from bms_pipeline.passportal.target import Target
from bms_pipeline.progress import Told
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reconcile.plan import Plan
from bms_pipeline.settings import Settings, read_settings
from bms_pipeline.warehouse.connection import Warehouse

LOCK_WAIT_SECONDS = 900.0
"""How long a run waits for one on the command line: longer than a whole sync of a typical tenant."""
LOG_EVERY_SECONDS = 10.0
"""How often a long step says how far it is: each line is an event in Dagster's own database."""


@dataclass(frozen=True)
class Home:
    """The pipeline's home folder and what lives in it or is reached from it."""

    settings: Settings
    warehouse: Warehouse
    target: Target


class Pipeline(dg.ConfigurableResource[Any]):
    """Opens the home folder and the services, as the environment or `.env` says.

    It has no configuration on purpose: what Dagster is told, it stores and shows.
    """

    _home: Home | None = PrivateAttr(default=None)
    _client: BmsClient | None = PrivateAttr(default=None)
    _refusal: LoginRefused | SettingsError | None = PrivateAttr(default=None)
    _plan_id: int | None = PrivateAttr(default=None)
    _what: str = PrivateAttr(default="A Dagster run")
    _held: contextlib.ExitStack | None = PrivateAttr(default=None)
    _told: Told | None = PrivateAttr(default=None)
    _failed: BaseException | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Remember which run this is, for whoever is kept waiting by it."""
        if context.run_id:
            self._what = f"Dagster run {context.run_id}"

    @contextlib.contextmanager
    def at_work(self) -> Iterator[Home]:
        """Hold the home folder, from the first step that writes to the end of the run.

        Nobody else plans, decides or loads between two steps, so that the run loads the plan that it made.
        """
        with self.looking() as home:
            if self._held is None:
                held = contextlib.ExitStack()
                self._told = held.enter_context(sync.running(home.settings, self._what, LOCK_WAIT_SECONDS))
                self._held = held
            try:
                yield home
            except BaseException as error:
                self._failed = error
                raise

    def let_go(self) -> None:
        """Give back the home folder before this run waits; its next step takes it again."""
        if self._held is not None:
            held, self._held = self._held, None
            held.close()

    def progress(self, log: dg.DagsterLogManager) -> LoggedProgress:
        """What a stage tells how far it is: the run's log, and whoever looks on while this run is at work."""
        return LoggedProgress(log, self._told)

    @contextlib.contextmanager
    def looking(self) -> Iterator[Home]:
        """Use the home folder without holding it; errors become failures that say what to do."""
        with told_to_the_operator():
            if self._home is None:
                settings = read_settings()
                self._home = Home(settings, sync.open_warehouse(settings), sync.open_target(settings))
            yield self._home

    @contextlib.contextmanager
    def bms(self, settings: Settings) -> Iterator[BmsClient]:
        """The client of this run: one login serves all its steps, which share a process.

        A refused login is not tried again by the run's other steps: a few more wrong passwords lock a user out.
        """
        if self._refusal is not None:
            raise type(self._refusal)(self._refusal.message, self._refusal.next_step)
        if self._client is None:
            self._client = BmsClient(settings)
        try:
            yield self._client
        except (LoginRefused, SettingsError) as error:
            self._refusal = error
            raise

    def keep_to(self, plan: Plan) -> None:
        """Raises ``PlanStale`` when an earlier step of this run worked with another plan."""
        if self._plan_id not in (None, plan.plan_id):
            raise PlanStale(
                f"Plan {plan.hash[:12]} replaced the plan of this run while it was at work.",
                "What was loaded is kept. Run again: it goes on from there.",
            )
        self._plan_id = plan.plan_id

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Let go of the home folder and close the connections of the run."""
        if self._held is not None:
            error = self._failed  # the run ends as failed also for those who look on
            self._held.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
        if self._client is not None:
            self._client.close()


class ScopeOfRun(dg.ConfigurableResource[Any]):
    """What this run looks at. Entities are chosen by selecting assets."""

    clients: list[int] = Field(
        default=[], description="Only these clients and what is inside them, by BMS account id; empty: all."
    )
    full_sweep: bool = Field(
        default=False,
        description="Read every record of BMS, also where it can tell what changed. A daily full sweep happens anyway.",
    )
    only_what_is_new: bool = Field(
        default=False,
        description=(
            "As the schedule does it: end early where nothing changed since the last plan, and read a list that needs"
            " more calls than the hour has left in instalments, run after run."
        ),
    )

    @property
    def value(self) -> Scope:
        """The scope as reconcile and plan understand it."""
        return Scope(clients=tuple(self.clients) or None)


class Approval(dg.ConfigurableResource[Any]):
    """A person's word. Launching a job is none: before the initial sync is finished, nothing is loaded without it."""

    plan_hash: str = Field(
        default="",
        description="Load the plan with this hash (8 characters or more, see sync_plan), and refuse any other.",
    )
    by: str = Field(default="somebody in Dagster", description="Who approves it, for the record.")


class LoggedProgress:
    """Writes a stage's progress to the run's log, now and then; ``beside`` is told the same."""

    def __init__(self, log: dg.DagsterLogManager, beside: Told | None = None) -> None:
        self._log = log
        self._beside = beside
        self._told_at = time.monotonic()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """See ``sync.Progress``."""
        if self._beside is not None:
            self._beside(stage, done, total)
        if time.monotonic() - self._told_at >= LOG_EVERY_SECONDS:
            self._told_at = time.monotonic()
            self._log.info(f"{stage}: {done:,} of {total:,}" if total else f"{stage}: {done:,}")
