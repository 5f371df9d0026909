"""The way from an empty home to the first finish: its steps, in the order and words of the vendor's walk-through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Step:
    """One step of the walk: its name, and the address of its page.

    ``entity``: the entity it decides about; the step is left out while the sync of that entity is off.
    """

    name: str
    address: str
    entity: str | None = None


SET_UP = Step("Set-up", "/setup")
USER_SYNC = Step("User Sync", "/review/users", "users")
CLIENT_SYNC = Step("Client Sync", "/review/clients", "clients")
SYNC_PREVIEW = Step("Sync Preview", "/preview")
FINISH = Step("Finish", "/runs")
STEPS = (SET_UP, USER_SYNC, CLIENT_SYNC, SYNC_PREVIEW, FINISH)
"""The walk, in order."""


@dataclass(frozen=True)
class WalkState:
    """How far a home is on the walk.

    ``synced`` and ``waiting`` are entity → whether it is synced, and its records waiting for a decision. ``to_load``:
    the operations of a plan waiting for its finish.
    """

    has_read: bool
    synced: Mapping[str, bool]
    waiting: Mapping[str, int]
    to_load: int
    is_approved: bool
    is_finished: bool


@dataclass(frozen=True)
class ShownStep:
    """A step on a page. ``left`` counts what it still waits for."""

    step: Step
    is_done: bool
    is_now: bool
    left: int


@dataclass(frozen=True)
class Onwards:
    """The way to the next step: a link to ``address``, or a form sent to it if the next page needs a run first."""

    step: Step
    address: str
    is_form: bool


@dataclass(frozen=True)
class Walk:
    """The stepper of one page. After the first finish it ``is_quiet``.

    ``after_run``: the address of the step to which the run page goes on by itself; empty for none.
    """

    steps: Sequence[ShownStep]
    onwards: Onwards | None
    is_quiet: bool
    after_run: str = ""


def walk_on(path: str, then: str, state: WalkState) -> Walk | None:
    """Return the stepper for the page at ``path``; None for pages outside the walk.

    ``then``: the page to which the run page leads. The overview shows the stepper until the first finish.
    """
    steps = taken_steps(state)
    now = _step_at(path, then, steps)
    if now is None and (path != "/" or state.is_finished):
        return None
    shown = [ShownStep(step, _is_done(step, state), step == now, _left(step, state)) for step in steps]
    is_run_page = path == FINISH.address and any(step.address == then for step in steps)
    return Walk(shown, _onwards(now, steps), state.is_finished, then if is_run_page else "")


def taken_steps(state: WalkState) -> list[Step]:
    """Return the steps of this home: those of a synced entity, and those of none."""
    return [step for step in STEPS if step.entity is None or state.synced[step.entity]]


def after_reading(state: WalkState) -> Step:
    """Return the step after Set-up."""
    return taken_steps(state)[1]


def name_of(address: str) -> str:
    """Return the name of the step whose page is at ``address``; empty for every other page."""
    path = urlsplit(address).path
    return next((step.name for step in STEPS if step.address == path), "")


def _step_at(path: str, then: str, steps: Sequence[Step]) -> Step | None:
    """Return the step whose page this is. A run that leads to a step belongs to the step before that one."""
    if path == FINISH.address and then:
        leads_to = next((number for number, step in enumerate(steps) if step.address == urlsplit(then).path), None)
        return steps[max(0, leads_to - 1)] if leads_to is not None else FINISH
    return next((step for step in steps if path == step.address or path.startswith(f"{step.address}/")), None)


def _is_done(step: Step, state: WalkState) -> bool:
    if step == FINISH:
        return state.is_finished
    if step == SYNC_PREVIEW:
        return state.is_approved
    return state.has_read and not _left(step, state)


def _left(step: Step, state: WalkState) -> int:
    if step == SYNC_PREVIEW:
        return state.to_load
    return state.waiting.get(step.entity, 0) if step.entity else 0


def _onwards(now: Step | None, steps: Sequence[Step]) -> Onwards | None:
    if now is None or now in (SYNC_PREVIEW, FINISH):
        return None  # from here a person's finish leads on
    following = steps[list(steps).index(now) + 1]
    if now == SET_UP:
        return Onwards(following, "/setup/read", is_form=True)
    if following == SYNC_PREVIEW:
        return Onwards(following, "/preview/make", is_form=True)
    return Onwards(following, following.address, is_form=False)
