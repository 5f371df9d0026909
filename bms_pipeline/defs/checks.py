"""Checks to stop the assets below them: one factory for each kind, each with one question for the warehouse."""

from __future__ import annotations

from dataclasses import dataclass, field

import dagster as dg

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.defs import names
from bms_pipeline.defs.assets.extract import bms_key, details_key
from bms_pipeline.defs.assets.load import RESULT_KEY, loaded_key
from bms_pipeline.defs.assets.reconcile import PLAN_KEY, reconciled_key
from bms_pipeline.defs.metadata import sample
from bms_pipeline.defs.resources import Pipeline
from bms_pipeline.load.import_files import OVERDUE_DAYS, pending_imports_sql
from bms_pipeline.plan.operations import OUTCOMES
from bms_pipeline.reconcile import duplicates
from bms_pipeline.sync.enrichment import DETAILED
from bms_pipeline.warehouse import sql

FULL_SWEEP_HOURS = 36
"""One nightly full sweep may be missed, not two."""
DETAILS_DAYS = 7
"""Far longer than 50,000 records take at the vendor's limit."""


@dataclass(frozen=True)
class CheckQuestion:
    """A statement that finds offenders, and the meaning of a hit.

    ``statement`` names an SQL file of the warehouse. ``values`` fill its placeholders.
    """

    statement: str
    means: str
    then: str
    values: dict[str, str] = field(default_factory=dict)

    @property
    def query(self) -> str:
        """The SQL."""
        return sql.read(f"defs/{self.statement}").format(**self.values)


def build_check(
    asset_name: str, name: str, question: CheckQuestion, *, blocking: bool = True
) -> dg.AssetChecksDefinition:
    """Build a check that fails when ``question`` finds an offender.

    A failed check stops the assets below ``asset_name``, or only warns.
    """

    @dg.asset_check(
        asset=names.asset_key(asset_name), name=name, description=f"{question.means} {question.then}", blocking=blocking
    )
    def check(pipeline: Pipeline) -> dg.AssetCheckResult:
        with pipeline.read_only() as home, home.warehouse.open() as connection:
            offenders, shown = sample(connection, question.query)
        return dg.AssetCheckResult(
            passed=not offenders,
            severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
            description=question.then if offenders else "",
            metadata={"offenders": offenders} | ({"sample": shown} if offenders else {}),
        )

    return check


def completeness(entity: Entity) -> dg.AssetChecksDefinition:
    """Build the check that the last sweep behind ``bms_<entity>`` was read to a provable end."""
    return build_check(
        bms_key(entity.name),
        "completeness",
        CheckQuestion(
            "check_completeness",
            f"The last sweep of {entity.list_call.name} was read to a provable end; an incremental one to its own.",
            "If not, matched records are updated, new matches and creates wait for a finish, nothing counts as gone."
            " `total` or `drift`: BMS changed faster than it was read, so run again, best at a quieter hour."
            " `quarantine`: some records cannot be read at all; see the sweep's manifest.",
            {"list_call": entity.list_call.name},
        ),
        blocking=False,
    )


def conservation(asset_name: str) -> dg.AssetChecksDefinition:
    """Build the check that every record read counts under exactly one outcome."""
    stored = " UNION ALL ".join(
        f"SELECT '{entity.name}' AS entity, count(*) AS stored FROM bms.{entity.name} WHERE missing_since IS NULL"
        for entity in ENTITIES
    )
    return build_check(
        asset_name,
        "conservation",
        CheckQuestion(
            "check_conservation",
            "For each entity the records read are the sum of the outcomes, and each is there once.",
            "If not: the stored records changed since the plan was made, so make a new one; else it is a defect.",
            {"stored": stored, "outcomes": " + ".join(OUTCOMES)},
        ),
    )


def one_to_one(entity: Entity, stage: str, asset_name: str) -> dg.AssetChecksDefinition:
    """Build the check that no record of either side has two links."""
    return build_check(
        asset_name,
        "one_to_one",
        CheckQuestion(
            "check_one_to_one",
            f"No {entity.singular} of BMS is linked to two of Passportal, and none of Passportal to two of BMS.",
            "If not: load nothing, and report it with the sample; links are made nowhere else.",
            {"entity": entity.name, "stage": stage},
        ),
    )


def client_boundary(entity: Entity, stage: str, asset_name: str) -> dg.AssetChecksDefinition:
    """Build the check that every link stays inside the client of the record's BMS account."""
    return build_check(
        asset_name,
        "client_boundary",
        CheckQuestion(
            "check_client_boundary",
            f"Every linked {entity.singular} lies in the Passportal client that its BMS account is linked to.",
            "If not: load nothing, and report it with the sample; one client's records must never reach another's.",
            {"entity": entity.name, "stage": stage},
        ),
    )


def full_sweep(entity: Entity) -> dg.AssetChecksDefinition:
    """Build the check that the list behind ``bms_<entity>`` had a recent full sweep."""
    return build_check(
        bms_key(entity.name),
        "full_sweep",
        CheckQuestion(
            "check_full_sweep",
            f"{entity.list_call.name.capitalize()} were swept in full within the last {FULL_SWEEP_HOURS} hours.",
            "If not, nobody would notice what is gone from BMS: see why the nightly full sweeps do not end.",
            {"list_call": entity.list_call.name, "hours": str(FULL_SWEEP_HOURS)},
        ),
        blocking=False,
    )


def details(entity: Entity) -> dg.AssetChecksDefinition:
    """Build the check that no record waits for its details for long."""
    return build_check(
        bms_key(entity.name),
        "details",
        CheckQuestion(
            "check_details",
            f"No {entity.singular} is in Passportal for {DETAILS_DAYS} days without its details.",
            "If some are: does the sensor `asset_details` run, and do its runs succeed? A very large tenant takes weeks"
            f" at the hourly limit; `time to finish` of `{details_key(entity)}` says how long.",
            {"entity": entity.name, "days": str(DETAILS_DAYS)},
        ),
        blocking=False,
    )


def failing() -> dg.AssetChecksDefinition:
    """Build the check that Passportal refused nothing."""
    return build_check(
        RESULT_KEY,
        "failing",
        CheckQuestion(
            "check_failing",
            "Passportal refused no record of the plan.",
            "If it did: the sample says why. Each is tried again with the next sync; what stays needs a person.",
        ),
        blocking=False,
    )


def open_intents() -> dg.AssetChecksDefinition:
    """Build the check that every write has an outcome."""
    return build_check(
        RESULT_KEY,
        "open_intents",
        CheckQuestion(
            "check_open_intents",
            "Every write to Passportal has an outcome.",
            "If not, its answer was lost. It is looked up before anything is sent again: launch the same run again.",
        ),
        blocking=False,
    )


def one_marker() -> dg.AssetChecksDefinition:
    """Build the check that no BMS id is on two records of Passportal."""
    return build_check(
        RESULT_KEY,
        "one_marker",
        CheckQuestion(
            "check_duplicates",
            "No two records of Passportal carry the same BMS id.",
            "If two do: say which one keeps it with `bms-pipeline keep ENTITY BMS_ID PASSPORTAL_ID`, then finish the"
            " next plan, which takes the id off the others.",
            {"duplicates": duplicates.query()},
        ),
        blocking=False,
    )


def hand_overs() -> dg.AssetChecksDefinition:
    """Build the check that every record exported for an import is imported within days."""
    stood = pending_imports_sql(ENTITIES, "(now() AT TIME ZONE 'UTC')")
    return build_check(
        RESULT_KEY,
        "hand_overs",
        CheckQuestion(
            "check_hand_overs",
            f"Passportal lists within {OVERDUE_DAYS} days what was handed over in a file for its import.",
            "If not: import the file that the sample names, once. The console's page Hand-overs lists all of them.",
            {"stood": stood, "days": str(OVERDUE_DAYS)},
        ),
        blocking=False,
    )


def match_rate() -> dg.AssetChecksDefinition:
    """Build the check that as many records are linked as usual."""
    return build_check(
        RESULT_KEY,
        "match_rate",
        CheckQuestion(
            "check_match_rate",
            "As many of the records in scope are linked as on average in the week before, give or take five in 100.",
            "If not: many new records wait for a decision, or something was renamed or unlinked at large. `sync_plan`"
            " shows why they wait.",
            {"days": "7", "fewest": "20", "drop": "0.05"},
        ),
        blocking=False,
    )


def _links(stage: str, entity: Entity, asset_name: str) -> list[dg.AssetChecksDefinition]:
    checks = [one_to_one(entity, stage, asset_name)]
    return [*checks, client_boundary(entity, stage, asset_name)] if entity.has_client else checks


HEALTH = (
    *(completeness(entity) for entity in ENTITIES),
    *(full_sweep(entity) for entity in ENTITIES),
    *(details(entity) for entity, _ in DETAILED),
    failing(),
    open_intents(),
    one_marker(),
    hand_overs(),
    match_rate(),
)
"""These checks warn and stop nothing."""
CHECKS = (
    *HEALTH,
    *(check for entity in ENTITIES for check in _links("reconciled", entity, reconciled_key(entity.name))),
    conservation(PLAN_KEY),
    *(check for entity in ENTITIES for check in _links("loaded", entity, loaded_key(entity.name))),
    conservation(RESULT_KEY),
)
