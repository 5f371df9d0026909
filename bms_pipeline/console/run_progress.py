"""What the page of the runs says about the active or last run: its stages, its end in a sentence, and what is next."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bms_pipeline.core.errors import PlanError
from bms_pipeline.core.run_status import RunStatus
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.reports import figures
from bms_pipeline.reports.read_models import PendingPlan, RunWrites
from bms_pipeline.sync import planning
from bms_pipeline.warehouse.connection import Warehouse

if TYPE_CHECKING:
    from bms_pipeline.console.context import Console

_VERBS = {
    "extract": ("Reading {} from BMS", "Read {} from BMS"),
    "land": ("Storing {}", "Stored {}"),
    "snapshot": ("Reading {} from Passportal", "Read {} from Passportal"),
    "reconcile": ("Comparing {}", "Compared {}"),
    "load": ("Loading {} into Passportal", "Loaded {} into Passportal"),
    "settle:": ("Looking up open writes: {}", "Looked up open writes: {}"),
}
"""First word of a stage → how people call it, while it is active and after it."""
_STAGES = {
    "sign in to BMS": ("Signing in to BMS", "Signed in to BMS"),
    "plan": ("Making the plan", "Made the plan"),
    "approve": ("Approving the plan", "Approved the plan"),
    "details": ("Reading details of assets", "Read details of assets"),
}
IN_ORDER = ("users", "clients", "locations", "contacts", "assets")
"""The entities as the pages ask about them."""
PAGES = {
    "/": "Overview",
    "/setup": "Set-up",
    "/review/users": "User Sync",
    "/review/clients": "Client Sync",
    "/review/locations": "Locations",
    "/review/contacts": "Contacts",
    "/review/assets": "Assets",
    "/preview": "Sync Preview",
    "/runs": "Runs",
}
"""Address → the name of its page."""
SHORTEST_FOR_RATE = 2.0
"""A stage shows a rate once it has worked for this many seconds."""


@dataclass(frozen=True)
class StageShown:
    """One stage: ``name`` is its technical name, ``count`` its records. ``left``: an estimate, in words."""

    name: str
    text: str
    count: str
    seconds: str
    left: str = ""


def ended_stages(run: RunStatus) -> list[StageShown]:
    """Return the stages that ended, in order; of a run that did well also the last one."""
    shown = [
        StageShown(stage.name, _text(stage.name, 1), _count(stage.done, stage.total), duration(stage.seconds))
        for stage in run.ended_stages
    ]
    if run.stage and run.ended_at is not None and not run.message:
        seconds = (_at(run.ended_at) - _at(run.stage_started_at or run.started_at)).total_seconds()
        shown.append(StageShown(run.stage, _text(run.stage, 1), _count(run.done, run.total), duration(max(0, seconds))))
    return shown


def active_stage(run: RunStatus, now: datetime) -> StageShown | None:
    """Return the stage that is active, or in which the run stopped: how fast it is, and when it may end."""
    if not run.stage or (run.ended_at is not None and not run.message):
        return None
    seconds = max(0.0, (now - _at(run.stage_started_at or run.started_at)).total_seconds())
    rate, left = run.done / seconds if seconds >= SHORTEST_FOR_RATE else 0.0, ""
    if rate:
        left = f"{rate:,.0f} a second" if rate >= 1 else f"{60 * rate:,.0f} a minute"
        if run.total and run.total > run.done:
            left += f", about {duration((run.total - run.done) / rate)} left"
    return StageShown(run.stage, _text(run.stage, 0), _count(run.done, run.total), duration(seconds), left)


def duration(seconds: float) -> str:
    """Return a length of time as people say it: ``0.4 s``, ``28 s``, ``1 min 28 s``, ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@dataclass(frozen=True)
class RunEnd:
    """How the last run ended: a sentence, and the entities that wait for a person with their records."""

    sentence: str
    waiting: dict[str, int]
    plan: PendingPlan | None


def run_end(console: Console, run: RunStatus) -> RunEnd:
    """Return how a run ended that did not fail. "Done" is only what is done: not an open write, nor half a load."""
    copy = console.reading.copy
    began, ended = _at(run.started_at), _at(run.ended_at or run.started_at)
    writes = figures.writes_between(copy, _naive(began), _naive(ended + timedelta(seconds=1)))
    plan = read_pending_plan(console)
    waiting = {name: count for name in IN_ORDER if (count := console.waiting().get(name, 0))}
    is_half_loaded = plan is not None and _is_approved(copy)
    sentence = end_sentence((ended - began).total_seconds(), writes, plan.operations if plan and is_half_loaded else 0)
    return RunEnd(sentence, waiting, None if is_half_loaded else plan)


def end_sentence(seconds: float, writes: RunWrites, left: int) -> str:
    """Return what a run did, in a sentence: how long it took, what it wrote, what is ``left`` of an approved plan."""
    took = duration(seconds)
    did = writes.in_words or "nothing was written to Passportal"
    if writes.unknown:
        return (
            f"Ended after {took}, and not all is done: {did}. The answer to {writes.unknown:,} writes was lost; the"
            " next sync looks them up before it sends anything."
        )
    if left:
        return f"Ended after {took}, and not all is done: {did}; the next sync loads the {left:,} operations left."
    return f"Done in {took}: {did}."


def read_pending_plan(console: Console) -> PendingPlan | None:
    """Return the plan that waits for a load, counted once for each state of the copy."""
    copy = console.reading.copy
    return copy.cached("pending plan", lambda: figures.pending_plan(copy))


def _is_approved(copy: Warehouse) -> bool:
    """Return whether a person approved the current plan."""
    with contextlib.suppress(PlanError):
        return planning.current_plan(copy).approved
    return False


@dataclass(frozen=True)
class NextPage:
    """The page to go on with: its address and its name."""

    address: str
    name: str


def next_page(console: Console, wanted: str) -> NextPage:
    """Return the page to go on with: ``wanted`` where a form named one, else where something waits for a person."""
    if wanted not in ("", "/"):
        return NextPage(wanted, PAGES.get(wanted.partition("?")[0], "the page that you came from"))
    waiting: Mapping[str, int] = console.waiting()
    with console.reading.copy.open() as connection:
        settings = read_sync_settings(connection)
    asked = [name for name in IN_ORDER if waiting.get(name) and settings.sync.get(name, True)]
    plan = read_pending_plan(console)
    if not settings.initial_sync_finished:
        asked = [name for name in asked if name in ("users", "clients")]
        address = f"/review/{asked[0]}" if asked else "/preview"
    elif plan is not None:
        address = "/preview"
    else:
        address = f"/review/{asked[0]}" if asked else "/"
    return NextPage(address, PAGES[address])


def _text(stage: str, tense: int) -> str:
    """Return a stage in words, in the present (0) or the past (1)."""
    if stage in _STAGES:
        return _STAGES[stage][tense]
    verb, _, what = stage.partition(" ")
    return _VERBS[verb][tense].format(what) if verb in _VERBS and what else stage


def _count(done: int, total: int | None) -> str:
    if total is None or done >= total:
        return f"{done:,}" if done else ""
    return f"{done:,} of {total:,}"


def _at(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _naive(at: datetime) -> datetime:
    """Return a moment as the warehouse stores it."""
    return at.astimezone(UTC).replace(tzinfo=None)
