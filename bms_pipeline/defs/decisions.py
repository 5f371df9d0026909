"""The verbs of a person's review as jobs: one for each, with what it takes in the launchpad.

They change what is decided, never Passportal: that is left to a plan, and to the job `finish` with the plan's hash.
What a person matched, created or took apart waits for that. An included record is decided by the rules again, and after
the initial sync the settings may let a scheduled run load it.

They decide for people who signed in to Dagster's pages. A launch that nobody vouches for only tries.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from bms_pipeline import reports, review
from bms_pipeline.defs import links
from bms_pipeline.defs.metadata import table
from bms_pipeline.defs.resources import SOMEBODY, Home, Pipeline
from bms_pipeline.entities import BY_NAME, chosen
from bms_pipeline.reconcile import comparison
from bms_pipeline.reconcile.decisions import Decision, Selection, Taken, including

MOST_LINES = 1_000
"""Lines of an imported file that a run's page lists."""

INSTEAD = "Or decide by command or in the review console (docs/deciding.md)."

EntityChoice = Enum("EntityChoice", {each: each for each in BY_NAME})  # type: ignore[misc]  # from the declaration
"""The entities as the launchpad offers them."""


class Said(dg.Config):
    """Who decides, why, and whether it is only tried."""

    by: str = Field(default=SOMEBODY, description="Who decides, for the record; default: who signed in.")
    why: str = Field(default="", description="For the record.")
    only_try: bool = Field(default=False, description="Show what it would change, and change nothing.")


class AboutRecords(Said):
    """Which records a verb is meant for."""

    entity: EntityChoice = Field(default=EntityChoice("clients"), description="Which kind of records.")
    bms_ids: list[int] = Field(default=[], description="Their ids in BMS; empty: those that the filters choose.")
    disposition: str = Field(default="", description="Those with this disposition: unmatched, ambiguous, excluded ...")
    reason: str = Field(default="", description="Those with this reason code, as sync_plan shows it.")
    client: int = Field(default=0, description="Those of this client, by its BMS account id; 0: all.")
    name: str = Field(default="", description="Those whose name contains this.")

    def chosen(self, home: Home) -> list[int]:
        """The BMS ids that are meant. Raises ``DecisionError`` when neither ids nor a filter are given."""
        selection = Selection(tuple(self.bms_ids), self.disposition, self.reason, self.client, self.name)
        return review.select(home.warehouse, BY_NAME[self.entity.value], selection)


class Creating(AboutRecords):
    """Which records are to be created."""

    beside: bool = Field(
        default=False, description="Also where Passportal has one of the same or nearly the same name."
    )


class Matching(Said):
    """Which two records are the same."""

    entity: EntityChoice = Field(default=EntityChoice("clients"), description="Which kind of records.")
    bms_id: int = Field(description="The record's id in BMS.")
    passportal_id: str = Field(description="Its record in Passportal.")


class Including(Creating):
    """Which excluded records are synced again, and as what."""

    create: bool = Field(default=False, description="And decide that they be created.")
    match_to: str = Field(default="", description="And match it to this record of Passportal (one record only).")


class AllOf(Said):
    """Which entities a verb runs over."""

    entities: list[str] = Field(default=list(BY_NAME), description="Which kinds of records.")


class Importing(Said):
    """A spreadsheet of decisions on this machine."""

    file: str = Field(description="Its path: a filled export, .csv or .xlsx.")


class ChangingSettings(Said):
    """Which settings change."""

    changes: dict[str, str] = Field(
        default={},
        description='Name to value, as a run of this job without any lists them, e.g. {"auto_create.users": "on"}.',
    )
    confirm: str = Field(
        default="",
        description="Empty: only show what would change, and the code that confirms it.",
    )


class Undoing(dg.Config):
    """Which load is taken back."""

    plan_id: int = Field(description="The number of a loaded plan, as the console's page Runs lists them.")


def build_decision_job(
    verb: str, config: type[Any], describe: str, decide: Callable[[Home, Any], Taken]
) -> dg.JobDefinition:
    """The job of one verb: ``decide`` does it, the step's output tells what it changed."""

    @dg.op(name=f"decide_{verb}", description=describe)
    def op(context: dg.OpExecutionContext, config: config, pipeline: Pipeline) -> dg.Output[dict[str, int]]:  # type: ignore[valid-type]
        with pipeline.at_work() as home, _of_a_person(home, pipeline, config) as said:
            taken = decide(home, said)
        context.log.info(f"{taken.taken:,} decided, {taken.already:,} held already.")
        counts = {"decided": taken.taken, "held already": taken.already}
        of_a_file = _of_a_file(taken) if isinstance(taken, review.Imported) else {}
        return dg.Output(counts, metadata={**counts, **of_a_file, "decided otherwise now": _table(taken.changes)})

    return _job(verb, op, describe)


@contextlib.contextmanager
def _of_a_person(home: Home, pipeline: Pipeline, said: Any) -> Iterator[Any]:  # noqa: ANN401  # one of the configs
    """Let people decide who signed in: yields ``said`` with their name. A try changes nothing and needs no log-in.

    But a file is read only for who signed in: its content shows in the errors.
    """
    if said.only_try and not isinstance(said, Importing):
        yield said
        return
    with pipeline.vouched(home, said.by, INSTEAD) as by:
        yield said.model_copy(update={"by": by})


def _job(name: str, op: dg.OpDefinition, describe: str) -> dg.JobDefinition:
    graph = dg.GraphDefinition(name=name, node_defs=[op], description=describe)
    return graph.to_job(name=name, description=describe, executor_def=dg.in_process_executor)


def _table(changes: list[comparison.Change]) -> dg.TableMetadataValue:
    return table(
        ("entity", "was", "becomes", "records", "examples"),
        [(each.entity, each.was, each.becomes, each.records, "; ".join(each.examples)) for each in changes],
    )


def _of_a_file(taken: review.Imported) -> dict[str, Any]:
    """Each decision of a file by the names of both records, and what the person should know about the file."""
    pairs = table(
        ("line", "decision", "entity", "BMS id", "name", "client", "Passportal id", "name in Passportal"),
        [
            (str(pair.line), pair.verb, pair.entity, str(pair.bms_id), pair.name or "", pair.client or "",
             pair.passportal_id or "", pair.passportal_name or "")
            for pair in taken.pairs[:MOST_LINES]
        ],
    )  # fmt: skip
    return {"lines": pairs, "notes": dg.MetadataValue.text("\n".join(taken.notes) or "none")}


def _one_verb(verb: str) -> Callable[[Home, Any], Taken]:
    def decide(home: Home, said: AboutRecords) -> Taken:
        beside = isinstance(said, Creating) and said.beside
        decisions = [
            Decision(verb, said.entity.value, each, beside=beside and verb == "create", why=said.why)
            for each in said.chosen(home)
        ]
        return review.decide(home.warehouse, decisions, said.by, tried=said.only_try)

    return decide


def _match(home: Home, said: Matching) -> Taken:
    decision = Decision("match", said.entity.value, said.bms_id, said.passportal_id, why=said.why)
    return review.decide(home.warehouse, [decision], said.by, tried=said.only_try)


def _include(home: Home, said: Including) -> Taken:
    decisions = including(
        said.entity.value,
        said.chosen(home),
        create=said.create,
        beside=said.beside,
        match_to=said.match_to,
        why=said.why,
    )
    return review.decide(home.warehouse, decisions, said.by, tried=said.only_try)


def _all_of(verb: Literal["auto_match", "create_unmatched"]) -> Callable[[Home, Any], Taken]:
    def decide(home: Home, said: AllOf) -> Taken:
        entities = chosen(said.entities)
        taken = review.decide_all(home.warehouse, verb, entities, said.by, tried=said.only_try).values()
        return Taken(
            sum(each.taken for each in taken),
            sum(each.already for each in taken),
            [change for each in taken for change in each.changes],
        )

    return decide


def _import(home: Home, said: Importing) -> Taken:
    return review.import_file(home.warehouse, Path(said.file), said.by, tried=said.only_try)


@dg.op
def change_sync_settings(
    context: dg.OpExecutionContext, config: ChangingSettings, pipeline: Pipeline
) -> dg.Output[dict[str, Any]]:
    """Show what a change of settings would change, or, confirmed by the code that this showed, store it."""
    with pipeline.at_work() as home:
        tried = review.change_settings(home.warehouse, config.changes, config.by, config.why, tried=True)
        code = hashlib.sha256(json.dumps([repr(tried)]).encode()).hexdigest()[:12]
        if config.confirm and config.confirm != code:
            raise dg.Failure(
                f"{config.confirm} does not confirm this change: its code is {code}.",
                metadata={"decided otherwise": _table(tried.records)},
                allow_retries=False,
            )
        if config.confirm:
            with pipeline.vouched(home, config.by, INSTEAD) as by:
                review.change_settings(home.warehouse, config.changes, by, config.why)
        shown = reports.sync_settings(home.warehouse)
    if not config.confirm:
        context.log.info(f"Nothing is stored. To store it, launch again with confirm: {code}.")
    return dg.Output(
        shown,
        metadata={
            "stored": bool(config.confirm),
            "confirm": code,
            "settings": table(
                ("setting", "before", "after"), [(e.name, str(e.before), str(e.after)) for e in tried.settings]
            ),
            "in and out": table(
                ("entity", "in", "out", "because"),
                [(e.entity, e.records_in, e.records_out, str(e.kept_out_because)) for e in tried.scope],
            ),
            "decided otherwise": _table(tried.records),
        },
    )


@dg.op
def plan_undo(context: dg.OpExecutionContext, config: Undoing, pipeline: Pipeline) -> dg.Output[dict[str, Any]]:
    """Save a plan that takes back what a load wrote. The job `finish` with its hash does it."""
    with pipeline.at_work() as home:
        with pipeline.vouched(home, "", INSTEAD):
            plan = review.plan_undo(home.warehouse, config.plan_id)
        shown = reports.undo(home.warehouse, plan)
    context.log.info(f"Plan {plan.hash[:12]} takes back plan {config.plan_id}; launch `finish` with its hash.")
    launch = dg.MetadataValue.md(f"Launch the job {links.finish_link(plan.hash)}.")
    return dg.Output(shown, metadata={"next": launch, "plan hash": plan.hash, **shown})


_FINISH = " Passportal changes only with the next finish."
JOBS = (
    build_decision_job("auto_match", AllOf, "Makes every match lasting that the rules found.", _all_of("auto_match")),
    build_decision_job(
        "create_unmatched",
        AllOf,
        "Decides that all that waits for nothing but a decision be created." + _FINISH,
        _all_of("create_unmatched"),
    ),
    build_decision_job("match", Matching, "Decides that two records are the same." + _FINISH, _match),
    build_decision_job("unmatch", AboutRecords, "Takes records apart." + _FINISH, _one_verb("unmatch")),
    build_decision_job("create", Creating, "Decides that records be created." + _FINISH, _one_verb("create")),
    build_decision_job("exclude", AboutRecords, "Leaves records out until they are included.", _one_verb("exclude")),
    build_decision_job("include", Including, "Takes records back from the excluded ones.", _include),
    build_decision_job("import_decisions", Importing, "Takes the decisions in a spreadsheet, all or none.", _import),
    _job("change_settings", change_sync_settings, "Shows what a change of settings changes; stores it once confirmed."),
    _job("undo", plan_undo, "Plans to take back what a load wrote." + _FINISH),
)
