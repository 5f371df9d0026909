"""The verbs of a person's review as jobs: one for each, with its configuration in the launchpad.

The jobs change decisions, never Passportal. Writing to Passportal takes a plan, and the job `finish` with the plan's
hash. A record a person matched, created or unmatched waits for it. The rules decide an included record again, and after
the initial sync the settings may let a scheduled run load it.

The jobs decide for people signed in to Dagster's pages. A launch without a voucher is only a dry run.
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

from bms_pipeline.core.entities import BY_NAME, chosen
from bms_pipeline.core.errors import PlanMissing
from bms_pipeline.core.vocabulary import Disposition, Verb
from bms_pipeline.defs import links
from bms_pipeline.defs.jobs import JobStage, stage
from bms_pipeline.defs.metadata import table, tag_run
from bms_pipeline.defs.resources import SOMEBODY, Home, Pipeline
from bms_pipeline.reconcile import comparison
from bms_pipeline.reconcile.decisions import Decision, DecisionResult, Selection, including
from bms_pipeline.reports import figures
from bms_pipeline.sync import deciding

MOST_LINES = 1_000
"""Lines of an imported file to list on a run's page."""

INSTEAD = "Or decide by command or in the review console (docs/deciding.md)."

EntityChoice = Enum("EntityChoice", {name: name for name in BY_NAME})  # type: ignore[misc]  # from the declaration
"""The entities as the launchpad offers them."""


class Said(dg.Config):
    """The decider, the note, and whether this is a dry run."""

    by: str = Field(default=SOMEBODY, description="Who decides, for the record; default: who signed in.")
    why: str = Field(default="", description="For the record.")
    dry_run: bool = Field(default=False, description="Show what it would change, and change nothing.")


class AboutRecords(Said):
    """The records a verb applies to."""

    entity: EntityChoice = Field(default=EntityChoice("clients"), description="Which kind of records.")
    bms_ids: list[int] = Field(default=[], description="Their ids in BMS; empty: those that the filters choose.")
    disposition: str = Field(default="", description=f"Those with this disposition: {', '.join(Disposition)}.")
    reason: str = Field(default="", description="Those with this reason code, as sync_plan shows it.")
    client: int = Field(default=0, description="Those of this client, by its BMS account id; 0: all.")
    name: str = Field(default="", description="Those whose name contains this.")

    def chosen(self, home: Home) -> list[int]:
        """Return the chosen BMS ids. Raises ``DecisionError`` when neither ids nor a filter are given."""
        selection = Selection(tuple(self.bms_ids), self.disposition, self.reason, self.client, self.name)
        return deciding.select(home.warehouse, BY_NAME[self.entity.value], selection)


class Creating(AboutRecords):
    """The records to create."""

    allow_duplicate: bool = Field(
        default=False, description="Also where Passportal has one of the same or nearly the same name."
    )


class Matching(Said):
    """The two records to match."""

    entity: EntityChoice = Field(default=EntityChoice("clients"), description="Which kind of records.")
    bms_id: int = Field(description="The record's id in BMS.")
    passportal_id: str = Field(description="Its record in Passportal.")
    branch: bool = Field(
        default=False, description="Link one more account to a client that another account is matched to already."
    )


class Including(Creating):
    """The excluded records to sync again, optionally created or matched."""

    create: bool = Field(default=False, description="And decide that they be created.")
    match_to: str = Field(default="", description="And match it to this record of Passportal (one record only).")


class AllOf(Said):
    """The entities a verb runs over."""

    entities: list[str] = Field(default=list(BY_NAME), description="Which kinds of records.")


class Importing(Said):
    """A spreadsheet of decisions on this machine."""

    file: str = Field(description="Its path: a filled export, .csv or .xlsx.")


class ChangingSettings(Said):
    """The settings to change."""

    changes: dict[str, str] = Field(
        default={},
        description='Name to value, as a run of this job without any lists them, e.g. {"auto_create.users": "on"}.',
    )
    confirm: str = Field(
        default="",
        description="Empty: only show what would change, and the code that confirms it.",
    )


class Undoing(dg.Config):
    """The load to undo."""

    plan_id: int = Field(
        default=0,
        description="The number of a loaded plan, as `sync_result` shows it; 0: the one that was loaded last.",
    )


def build_decision_job(
    verb: str, config: type[Any], describe: str, decide: Callable[[Home, Any], DecisionResult]
) -> dg.JobDefinition:
    """Build the job of one verb: ``decide`` takes the decisions, and the step's output shows the changes."""

    @dg.op(name=f"decide_{verb}", description=describe)
    def op(context: dg.OpExecutionContext, config: config, pipeline: Pipeline) -> dg.Output[dict[str, int]]:  # type: ignore[valid-type]
        with pipeline.locked() as home, _of_a_person(home, pipeline, config) as said:
            taken = decide(home, said)
        context.log.info(f"{taken.taken:,} decided, {taken.already:,} held already.")
        counts = {"decided": taken.taken, "held already": taken.already}
        of_a_file = _of_a_file(taken) if isinstance(taken, deciding.Imported) else {}
        return dg.Output(counts, metadata={**counts, **of_a_file, "decided otherwise now": _table(taken.changes)})

    return _job(verb, op, describe)


@contextlib.contextmanager
def _of_a_person(home: Home, pipeline: Pipeline, said: Any) -> Iterator[Any]:  # noqa: ANN401  # one of the configs
    """Let signed-in people decide, under their name. A dry run changes nothing and needs no log-in.

    Reading a file always needs a signed-in person, because errors show the file's content.
    """
    if said.dry_run and not isinstance(said, Importing):
        yield said
        return
    with pipeline.vouched(home, said.by, INSTEAD) as by:
        yield said.model_copy(update={"by": by})


def _job(name: str, op: dg.OpDefinition, describe: str, of: JobStage = JobStage.DECIDE) -> dg.JobDefinition:
    graph = dg.GraphDefinition(name=name, node_defs=[op], description=describe)
    return graph.to_job(name=name, description=describe, executor_def=dg.in_process_executor, tags=stage(of))


def _table(changes: list[comparison.DispositionChange]) -> dg.TableMetadataValue:
    return table(
        ("entity", "was", "becomes", "records", "examples"),
        [(change.entity, change.was, change.becomes, change.records, "; ".join(change.examples)) for change in changes],
    )


def _of_a_file(taken: deciding.Imported) -> dict[str, Any]:
    """Return each decision of a file with the names of both records, and the notes about the file."""
    pairs = table(
        ("line", "decision", "entity", "BMS id", "name", "client", "Passportal id", "name in Passportal"),
        [
            (str(pair.line), pair.verb, pair.entity, str(pair.bms_id), pair.name or "", pair.client or "",
             pair.passportal_id or "", pair.passportal_name or "")
            for pair in taken.pairs[:MOST_LINES]
        ],
    )  # fmt: skip
    return {"lines": pairs, "notes": dg.MetadataValue.text("\n".join(taken.notes) or "none")}


def _one_verb(verb: str) -> Callable[[Home, Any], DecisionResult]:
    def decide(home: Home, said: AboutRecords) -> DecisionResult:
        allow_duplicate = isinstance(said, Creating) and said.allow_duplicate
        decisions = [
            Decision(
                verb, said.entity.value, bms_id, allow_duplicate=allow_duplicate and verb == Verb.CREATE, why=said.why
            )
            for bms_id in said.chosen(home)
        ]
        return deciding.decide(home.warehouse, decisions, said.by, dry_run=said.dry_run)

    return decide


def _match(home: Home, said: Matching) -> DecisionResult:
    verb = Verb.BRANCH if said.branch else Verb.MATCH
    decision = Decision(verb, said.entity.value, said.bms_id, said.passportal_id, why=said.why)
    return deciding.decide(home.warehouse, [decision], said.by, dry_run=said.dry_run)


def _include(home: Home, said: Including) -> DecisionResult:
    decisions = including(
        said.entity.value,
        said.chosen(home),
        create=said.create,
        allow_duplicate=said.allow_duplicate,
        match_to=said.match_to,
        why=said.why,
    )
    return deciding.decide(home.warehouse, decisions, said.by, dry_run=said.dry_run)


def _all_of(verb: Literal["auto_match", "create_unmatched"]) -> Callable[[Home, Any], DecisionResult]:
    def decide(home: Home, said: AllOf) -> DecisionResult:
        entities = chosen(said.entities)
        taken = deciding.decide_all(home.warehouse, verb, entities, said.by, dry_run=said.dry_run).values()
        return DecisionResult(
            sum(result.taken for result in taken),
            sum(result.already for result in taken),
            [change for result in taken for change in result.changes],
        )

    return decide


def _import(home: Home, said: Importing) -> DecisionResult:
    return deciding.import_file(home.warehouse, Path(said.file), said.by, dry_run=said.dry_run)


@dg.op
def change_sync_settings(
    context: dg.OpExecutionContext, config: ChangingSettings, pipeline: Pipeline
) -> dg.Output[dict[str, Any]]:
    """Show the effect of a change of settings, or store the change once its code confirms it."""
    with pipeline.locked() as home:
        dry_run = deciding.change_settings(home.warehouse, config.changes, config.by, config.why, dry_run=True)
        code = hashlib.sha256(json.dumps([repr(dry_run)]).encode()).hexdigest()[:12]
        if config.confirm and config.confirm != code:
            raise dg.Failure(
                f"{config.confirm} does not confirm this change: its code is {code}.",
                metadata={"decided otherwise": _table(dry_run.records)},
                allow_retries=False,
            )
        if config.confirm:
            with pipeline.vouched(home, config.by, INSTEAD) as by:
                deciding.change_settings(home.warehouse, config.changes, by, config.why)
        shown = figures.sync_settings(home.warehouse)
    if not config.confirm:
        context.log.info(f"Nothing is stored. To store it, launch again with confirm: {code}.")
    return dg.Output(
        shown,
        metadata={
            "stored": bool(config.confirm),
            "confirm": code,
            "settings": table(
                ("setting", "before", "after"), [(e.name, str(e.before), str(e.after)) for e in dry_run.settings]
            ),
            "in and out": table(
                ("entity", "in", "out", "because"),
                [(e.entity, e.records_in, e.records_out, str(e.kept_out_because)) for e in dry_run.scope],
            ),
            "decided otherwise": _table(dry_run.records),
        },
    )


@dg.op
def plan_undo(context: dg.OpExecutionContext, config: Undoing, pipeline: Pipeline) -> dg.Output[dict[str, Any]]:
    """Save a plan to undo a load. The job `finish` with its hash carries it out."""
    with pipeline.locked() as home:
        with pipeline.vouched(home, "", INSTEAD):
            undone = config.plan_id or _loaded_last(home)
            plan = deciding.plan_undo(home.warehouse, undone)
        shown = figures.undo_preview(home.warehouse, plan)
        launchpad = links.on_dagster(home.settings, links.finish_launchpad(plan.hash))
    tag_run(context, plan.hash)
    context.log.info(f"Plan {plan.hash[:12]} takes back plan {undone}. Load it once you have looked at it: {launchpad}")
    following = {
        "next": dg.MetadataValue.md(f"Launch the job {links.finish_link(plan.hash)}."),
        "finish": dg.MetadataValue.url(links.finish_launchpad(plan.hash)),
    }
    return dg.Output(shown, metadata={**following, "plan hash": plan.hash, **shown})


def _loaded_last(home: Home) -> int:
    """Return the number of the plan loaded last. Raises ``PlanMissing``."""
    loads = figures.loads(home.warehouse, 1)
    if not loads:
        raise PlanMissing("Nothing was loaded so far, so there is nothing to undo.", "Finish a plan first.")
    return int(loads[0]["plan_id"])


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
    _job("undo", plan_undo, "Plans to take back what a load wrote." + _FINISH, JobStage.REPAIR),
)
