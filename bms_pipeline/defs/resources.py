"""Resources of a run: the home folder with its services, the scope, and a person's approval."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from bms_pipeline.bms.client import BmsClient
from bms_pipeline.core.errors import LoginRefused, PipelineError, PlanNotCurrent, SettingsError
from bms_pipeline.core.mapping import DEFAULT, Mapping
from bms_pipeline.core.run_status import RunName
from bms_pipeline.core.settings import Settings, read_settings
from bms_pipeline.core.vocabulary import RunKind
from bms_pipeline.defs import names
from bms_pipeline.defs.failures import told_to_the_operator
from bms_pipeline.defs.instance.identity import living
from bms_pipeline.guard import vouching
from bms_pipeline.guard.vouching import Launch
from bms_pipeline.passportal.target import Target
from bms_pipeline.plan.operations import Plan
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.state.recording import RunStatusWriter
from bms_pipeline.sync import planning, run_lock, services
from bms_pipeline.warehouse import lease
from bms_pipeline.warehouse.connection import Warehouse, open_warehouse

LOCK_WAIT_SECONDS = 900.0
"""A run waits this long for a command line run to end: longer than a whole sync of a typical tenant."""
LOG_EVERY_SECONDS = 10.0
"""A long step logs its progress this often, because each line is an event in Dagster's own database."""


SOMEBODY = "somebody in Dagster"
"""The name of the person who approves or decides, where neither the launchpad nor the log-in gives one."""


@dataclass(frozen=True)
class Home:
    """The pipeline's home folder, and the files and services it leads to."""

    settings: Settings
    warehouse: Warehouse
    target: Target


class Pipeline(dg.ConfigurableResource[Any]):
    """Opens the home folder and the services, as the environment or `.env` says.

    It has no configuration on purpose: Dagster stores and shows every configuration.
    """

    _home: Home | None = PrivateAttr(default=None)
    _client: BmsClient | None = PrivateAttr(default=None)
    _refusal: LoginRefused | SettingsError | None = PrivateAttr(default=None)
    _plan_id: int | None = PrivateAttr(default=None)
    _name: RunName = PrivateAttr(default=RunName("A Dagster run", RunKind.DAGSTER))
    _launch: Launch | None = PrivateAttr(default=None)
    _held: contextlib.ExitStack | None = PrivateAttr(default=None)
    _mapping: Mapping = PrivateAttr(default=DEFAULT)
    _told: RunStatusWriter | None = PrivateAttr(default=None)
    _failed: BaseException | None = PrivateAttr(default=None)
    _living: contextlib.ExitStack = PrivateAttr(default_factory=contextlib.ExitStack)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Remember the run's id, for processes waiting for it, and how the run was launched. Show that it is alive."""
        if context.run_id:
            self._name = RunName(f"Dagster run {context.run_id}", RunKind.DAGSTER, context.run_id)
        if context.run is not None:
            self._launch = Launch(context.run.job_name, context.run.run_config, context.run.tags)
            self._show_alive(context.instance, context.run)

    def _show_alive(self, instance: dg.DagsterInstance | None, run: dg.DagsterRun) -> None:
        if instance is None or instance.is_ephemeral:
            return
        if missing := names.tenant_tags().items() - run.tags.items():
            instance.add_run_tags(run.run_id, dict(missing))
        self._living.enter_context(living(instance, run.run_id, self._stop_writing))

    def _stop_writing(self) -> None:
        if self._home is not None:
            lease.revoke(self._home.warehouse.file)

    @contextlib.contextmanager
    def vouched(self, home: Home, by: str, instead: str) -> Iterator[str]:
        """Allow an action that needs a person. Yields the name: ``by``, or the signed-in person who launched this run.

        Raises ``ApprovalRefused`` where anybody could have launched it. ``instead`` names the person's other options.
        """
        with vouching.vouched(home.settings, self._launch, instead) as name:
            yield name if name and by in ("", SOMEBODY) else by

    @contextlib.contextmanager
    def locked(self) -> Iterator[Home]:
        """Hold the home folder, from the first step that writes to the end of the run.

        No other process plans, decides or loads between two steps, so the run loads its own plan.
        """
        with self.read_only() as home:
            if self._held is None:
                held = contextlib.ExitStack()
                self._told = held.enter_context(run_lock.running(home.settings, self._name, LOCK_WAIT_SECONDS))
                self._held = held
                self._home = home = self._by_the_stored_mapping(home)
            try:
                yield home
            except BaseException as error:
                self._failed = error
                raise

    def _by_the_stored_mapping(self, home: Home) -> Home:
        """Open Passportal again where somebody changed the mapping before this run held the home folder."""
        mapping = services.mapping_of(home.settings)
        if mapping == self._mapping:
            return home
        self._mapping = mapping
        home.target.close()
        return replace(home, target=services.open_target(home.settings))

    def let_go(self) -> None:
        """Release the home folder before this run waits. Its next step takes it again."""
        if self._held is not None:
            held, self._held = self._held, None
            held.close()

    def progress(self, log: dg.DagsterLogManager) -> LoggedProgress:
        """Return the progress reporter of a stage: it writes to the run's log and to the progress file of this run."""
        return LoggedProgress(log, self._told)

    @contextlib.contextmanager
    def read_only(self) -> Iterator[Home]:
        """Use the home folder without holding it. Errors become failures with a next step."""
        with told_to_the_operator(self._current_plan):
            if self._home is None:
                settings = read_settings()
                self._mapping = services.mapping_of(settings)
                self._home = Home(settings, open_warehouse(settings), services.open_target(settings))
            yield self._home

    def _current_plan(self) -> str | None:
        if self._home is None:
            return None
        with contextlib.suppress(PipelineError):
            return planning.current_plan(self._home.warehouse).hash
        return None

    @contextlib.contextmanager
    def bms(self, settings: Settings) -> Iterator[BmsClient]:
        """Yield the client of this run: one login serves all its steps, which share a process.

        The run's other steps do not try a refused login again: a few more wrong passwords lock a user out.
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
        """Raise ``PlanNotCurrent`` when an earlier step of this run worked with another plan."""
        if self._plan_id not in (None, plan.plan_id):
            raise PlanNotCurrent(
                f"Plan {plan.hash[:12]} replaced the plan of this run while it was at work.",
                "What was loaded is kept. Run again: it goes on from there.",
            )
        self._plan_id = plan.plan_id

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Release the home folder and close the connections of the run."""
        self._living.close()
        if self._held is not None:
            error = self._failed  # the run has to end as failed in its progress file, too
            self._held.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
        if self._client is not None:
            self._client.close()
        if self._home is not None:
            self._home.target.close()


class ScopeOfRun(dg.ConfigurableResource[Any]):
    """The scope of this run. You choose entities by selecting assets."""

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
        """The scope as reconcile and plan take it."""
        return Scope(clients=tuple(self.clients) or None)


class Approval(dg.ConfigurableResource[Any]):
    """A person's approval. Before the initial sync is finished, nothing is loaded without it: a launch is no approval.

    It counts where the launch came through the log-in in front of Dagster's pages; else only for an approved plan.
    """

    plan_hash: str = Field(
        default="",
        description="Load the plan with this hash (8 characters or more, see sync_plan), and refuse any other.",
    )
    by: str = Field(default=SOMEBODY, description="Who approves it, for the record; default: who signed in.")


class LoggedProgress:
    """Writes a stage's progress to the run's log now and then, and passes it on to the run's progress file."""

    def __init__(self, log: dg.DagsterLogManager, beside: RunStatusWriter | None = None) -> None:
        self._log = log
        self._beside = beside
        self._told_at = time.monotonic()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Report progress; see ``progress.Progress``."""
        if self._beside is not None:
            self._beside(stage, done, total)
        if time.monotonic() - self._told_at >= LOG_EVERY_SECONDS:
            self._told_at = time.monotonic()
            self._log.info(f"{stage}: {done:,} of {total:,}" if total else f"{stage}: {done:,}")
