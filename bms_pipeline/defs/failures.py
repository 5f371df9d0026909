"""Translation of the pipeline's errors into failures shown by Dagster, in this one place.

The next step of an error is worded for a terminal. A reader in Dagster has jobs and Dagster assets instead. So errors
with a command as their next step have another wording here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import dagster as dg

from bms_pipeline.core.errors import (
    BreakerOpen,
    PipelineError,
    PlanDiscarded,
    PlanError,
    PlanKept,
    PlanMissing,
    PlanNotCurrent,
    PlanStale,
    PlanWaits,
    RecordsUnexplained,
    StageMissing,
    SweepIncomplete,
)
from bms_pipeline.defs import links

CurrentPlan = Callable[[], str | None]
"""Returns the hash of the current plan, or None where there is none."""


@contextlib.contextmanager
def told_to_the_operator(current_plan: CurrentPlan = lambda: None) -> Iterator[None]:
    """Turn a ``PipelineError`` into a ``Failure`` with the event and the next step, without our internals.

    The failure is not retried: safe retries happened further down, and the rest needs a person.
    """
    try:
        yield
    except PipelineError as error:
        plan_hash = current_plan() if isinstance(error, PlanError | SweepIncomplete) else None
        spoken = next_step(error, plan_hash)
        raise dg.Failure(
            f"{error.message}\n→ {spoken}" if spoken else error.message,
            metadata={
                "next step": dg.MetadataValue.md(_linked(error, plan_hash) or spoken or "none"),
                **_launchpad(error, plan_hash),
            },
            allow_retries=False,
        ) from None


def next_step(error: PipelineError, plan_hash: str | None) -> str:
    """Return the next step for ``error`` in Dagster, in plain text."""
    finish = f"`finish` with `plan_hash: {plan_hash[: links.SHORT]}`" if plan_hash else "`finish` with the plan's hash"
    words = _words(error)
    return words.format(finish=finish, **{job: f"`{job}`" for job in _JOBS}) if words else error.next_step


def _linked(error: PipelineError, plan_hash: str | None) -> str:
    """Return the same next step with links, as Markdown; empty where it names nothing to link to."""
    finish = links.finish_link(plan_hash) if plan_hash else links.job_link("finish")
    return _words(error).format(finish=finish, **{job: links.job_link(job) for job in _JOBS})


def _launchpad(error: PipelineError, plan_hash: str | None) -> dict[str, dg.MetadataValue]:
    """Return the link to the launchpad of `finish` with this plan, where that is the next step."""
    if plan_hash is None or "{finish}" not in _words(error):
        return {}
    return {FINISH: dg.MetadataValue.url(links.finish_launchpad(plan_hash))}


FINISH = "finish"
"""The metadata of a failure with the path of the launchpad that loads the plan."""
_JOBS = ("initial_sync", "incremental_sync", "plan")


def _words(error: PipelineError) -> str:
    """Return the next step for ``error`` with jobs as placeholders; empty where its own next step fits Dagster, too."""
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
    PlanDiscarded: "Launch the job {plan}, look at the new plan in the metadata of `sync_plan`, then finish that one.",
    PlanKept: "Look at the plan in the metadata of `sync_plan`: there is nothing of it to discard, or not yet.",
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
"""Kind of error → its next step in Dagster. A more specific kind precedes the kinds it belongs to."""
