"""The verbs of a person's review as jobs: one for each, with what it takes in the launchpad.

They change what is decided, never Passportal: that is left to a plan, and to the job `finish` with the plan's hash.
Everything that rests on a decision waits for that, so starting one of these jobs, by whomever, loads nothing.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from bms_pipeline import reports, review
from bms_pipeline.defs.metadata import Metadata, table
from bms_pipeline.defs.resources import Home, Pipeline
from bms_pipeline.entities import BY_NAME, ENTITIES
from bms_pipeline.errors import PlanStale
from bms_pipeline.reconcile import comparison
from bms_pipeline.reconcile.decisions import Decision, Selection, Taken

EntityChoice = Literal["clients", "users", "locations", "contacts", "assets"]


class Said(dg.Config):
    """Who decides, why, and whether it is only tried."""

    by: str = Field(default="somebody in Dagster", description="Who decides, for the record.")
    why: str = Field(default="", description="For the record.")
    only_try: bool = Field(default=False, description="Show what it would change, and change nothing.")


class AboutRecords(Said):
    """Which records a verb is meant for."""

    entity: EntityChoice = Field(default="clients", description="Which kind of records.")
    bms_ids: list[int] = Field(default=[], description="Their ids in BMS; empty: those that the filters choose.")
    disposition: str = Field(default="", description="Those with this disposition: unmatched, ambiguous, excluded ...")
    reason: str = Field(default="", description="Those with this reason code, as sync_plan shows it.")
    client: int = Field(default=0, description="Those of this client, by its BMS account id; 0: all.")
    name: str = Field(default="", description="Those whose name contains this.")

    def chosen(self, home: Home) -> list[int]:
        """The BMS ids that are meant. Raises ``Failure`` when neither ids nor a filter are given."""
        if not (self.bms_ids or self.disposition or self.reason or self.client or self.name):
            raise dg.Failure("No record was named. Give bms_ids, or a disposition, reason, client or name.")
        if self.bms_ids and not (self.disposition or self.reason or self.client or self.name):
            return list(self.bms_ids)
        selection = Selection(
            tuple(self.bms_ids) or None,
            self.disposition or None,
            self.reason or None,
            self.client or None,
            self.name or None,
        )
        return review.select(home.warehouse, BY_NAME[self.entity], selection)


class Creating(AboutRecords):
    """Which records are to be created."""

    beside: bool = Field(default=False, description="Also where Passportal has one of the same or nearly the same name.")


class Matching(Said):
    """Which two records are the same."""

    entity: EntityChoice = Field(default="clients", description="Which kind of records.")
    bms_id: int = Field(description="The record's id in BMS.")
    passportal_id: str = Field(description="Its record in Passportal.")


class Including(Creating):
    """Which excluded records are synced again, and as what."""

    create: bool = Field(default=False, description="And decide that they be created.")
    match_to: str = Field(default="", description="And match it to this record of Passportal (one record only).")


class AllOf(Said):
    """Which entities a verb runs over."""

    entities: list[EntityChoice] = Field(default=["clients", "users", "locations", "contacts", "assets"])


class Importing(Said):
    """A spreadsheet of decisions on this machine."""

    file: str = Field(description="Its path: a filled export, .csv or .xlsx.")


class Settings(Said):
    """Which settings change."""

    changes: dict[str, str] = Field(
        default={}, description='Name to value as `bms-pipeline settings` has them, e.g. {"auto_create.users": "on"}.'
    )
    confirm: str = Field(
        default="",
        description="Empty: only show what would change, and the code that confirms it. Starting a job confirms nothing.",
    )


class Undoing(dg.Config):
    """Which load is taken back."""

    plan_id: int = Field(description="The number of a loaded plan, see `bms-pipeline undo`.")


def build_decision_job(verb: str, config: type[Any], describe: str, decide: Callable[[Home, Any], Taken]) -> dg.JobDefinition:
    """The job of one verb: ``decide`` does it, the step's output tells what it changed."""

    @dg.op(name=verb, description=describe, out=dg.Out(dict, description="How many decisions, and what they changed."))
    def op(context: dg.OpExecutionContext, config: config, pipeline: Pipeline) -> dg.Output[dict[str, int]]:  # type: ignore[valid-type]
        with pipeline.at_work() as home:
            taken = decide(home, config)
        context.log.info(f"{taken.taken:,} decided, {taken.already:,} held already.")
        return dg.Output({"decided": taken.taken, "held already": taken.already}, metadata=_changed(taken))

    return _job(verb, op, describe)


def _job(name: str, op: dg.OpDefinition, describe: str) -> dg.JobDefinition:
    return dg.GraphDefinition(name=f"{name}_records" if name in BY_NAME else name, node_defs=[op]).to_job(
        name=name, description=describe, executor_def=dg.in_process_executor
    )


def _changed(taken: Taken) -> Metadata:
    return {"decided": taken.taken, "held already": taken.already, "decided otherwise now": _table(taken.changes)}


def _table(changes: list[comparison.Change]) -> dg.TableMetadataValue:
    return table(
        ("entity", "was", "becomes", "records", "examples"),
        [(each.entity, each.was, each.becomes, each.records, "; ".join(each.examples)) for each in changes],
    )
