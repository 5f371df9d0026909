"""The one place where an error of the pipeline becomes a failure that Dagster shows.

The next step of an error is worded for a terminal. Who reads it in Dagster has jobs and Dagster assets instead, so the
kinds of errors whose next step is a command have words of their own here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import dagster as dg

from bms_pipeline.defs import links
from bms_pipeline.errors import (
    BreakerOpen,
    PipelineError,
    PlanError,
    PlanMissing,
    PlanNotCurrent,
    PlanStale,
    PlanWaits,
    RecordsUnexplained,
    StageMissing,
    SweepIncomplete,
)

CurrentPlan = Callable[[], str | None]
"""Gives the hash of the current plan, None where there is none."""


@contextlib.contextmanager
def told_to_the_operator(current_plan: CurrentPlan = lambda: None) -> Iterator[None]:
    """Turn a ``PipelineError`` into a ``Failure`` that says what happened and what to do, without our internals.

    It is not retried: what can be retried safely was, further down, and the rest is for a person.
    """
    try:
        yield
    except PipelineError as error:
        plan_hash = current_plan() if isinstance(error, PlanError | SweepIncomplete) else None
        spoken = next_step(error, plan_hash)
        raise dg.Failure(
            f"{error.message}\n→ {spoken}" if spoken else error.message,
            metadata={"next step": dg.MetadataValue.md(_linked(error, plan_hash) or spoken or "none")},
            allow_retries=False,
        ) from None


def next_step(error: PipelineError, plan_hash: str | None) -> str:
    """What to do about ``error`` in Dagster, in plain text."""
    finish = f"`finish` with `plan_hash: {plan_hash[: links.SHORT]}`" if plan_hash else "`finish` with the plan's hash"
    words = _words(error)
    return words.format(finish=finish, **{each: f"`{each}`" for each in _JOBS}) if words else error.next_step


def _linked(error: PipelineError, plan_hash: str | None) -> str:
    """The same with links, as Markdown; empty where it names nothing to link to."""
    finish = links.finish_link(plan_hash) if plan_hash else links.job_link("finish")
    return _words(error).format(finish=finish, **{each: links.job_link(each) for each in _JOBS})


_JOBS = ("initial_sync", "incremental_sync", "plan")


def _words(error: PipelineError) -> str:
    """What to do about ``error``, with jobs as placeholders; empty where its own next step serves as well."""
    if isinstance(error, StageMissing):
        first = ", ".join(f"`{stage}_{entity}`" for stage, entity in error.missing)
        return f"Materialize {first} first, or launch the job {{initial_sync}}, which does all of it in order."
    return next((words for kind, words in WORDS.items() if isinstance(error, kind)), "")


WORDS: dict[type[PipelineError], str] = {
    PlanMissing: "Launch the job {initial_sync}: it reads both services and saves a plan.",
    PlanWaits: "Look at the plan in the metadata of `sync_plan`, then launch the job {finish}.",
    PlanNotCurrent: (
        "Look at the current plan in the metadata of `sync_plan`. To load that one, launch the job {finish}."
    ),
    PlanStale: "Launch the job {plan}, look at the new plan in the metadata of `sync_plan`, then finish that one.",
    BreakerOpen: (
        "Look at the plan in the metadata of `sync_plan`, and at BMS: is it still whole, and may the API user still see"
        " all of it? To load exactly this plan, launch the job {finish}."
    ),
    SweepIncomplete: (
        "Launch the job {incremental_sync} again, best at a quieter hour. To load the plan as it is, launch the job"
        " {finish}."
    ),
    RecordsUnexplained: "Launch the job {plan}. If this stays, it is a defect: report it with this message.",
}
"""Kind of error → what to do about it in Dagster; a kind before those that it is one of."""
