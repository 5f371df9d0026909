"""The types of what reports return. ``--json`` prints them by ``dataclasses.asdict``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict

from bms_pipeline.bms.budget import Usage
from bms_pipeline.core.entities import BY_NAME, EntityName
from bms_pipeline.plan import standings
from bms_pipeline.plan.breakers import Vanished
from bms_pipeline.sync.enrichment import DetailsLeft

Values = Mapping[str, Any]
"""A record's columns, which its entity declares, with their values."""


class FieldChange(TypedDict):
    """A value before and after a write."""

    field: str
    before: str | None
    after: str | None


class FieldKept(TypedDict):
    """A differing value, left as it is in Passportal."""

    field: str
    bms: str | None
    passportal: str | None


class FieldUnplaced(TypedDict):
    """A value of BMS for which the template in Passportal has no field."""

    field: str
    bms: str | None


class FieldUnlinked(TypedDict):
    """A link that is not written: the BMS id of the record that the field names, with its name, and the reason."""

    field: str
    bms: str | int
    reason: str


@dataclass(frozen=True)
class PendingPlan:
    """The plan waiting for a load. ``operations`` counts those left, ``held_back`` and ``unproved`` some of them.

    ``undoes``: the plan whose load it takes back.
    """

    hash: str
    operations: int
    held_back: int
    unproved: int
    stale: bool
    undoes: int | None


@dataclass(frozen=True)
class PendingImports:
    """How many handed-over records wait for an import, how many of them too long, and the folder of their files."""

    waiting: int
    overdue: int
    folder: str


@dataclass(frozen=True)
class UnknownWrites:
    """Writes of one kind whose answer was lost. From ``settles_at`` (UTC) on they may be sent again."""

    entity: EntityName
    operation: str
    writes: int
    left_at: datetime
    settles_at: datetime


@dataclass(frozen=True)
class BackupState:
    """The newest copy of people's decisions, and why the last run could make none; empty where it could."""

    newest: str | None
    made_at: str | None
    problem: str


@dataclass(frozen=True)
class NoPlace:
    """How many values of one field are not written, because the template in Passportal has no field for them."""

    entity: EntityName
    template: str
    field: str
    records: int
    label: str
    template_id: str | None


@dataclass(frozen=True)
class Needed:
    """How many new records are not created, because their template requires a label for which they have no value."""

    entity: EntityName
    template: str | None
    template_id: str | None
    label: str
    records: int


@dataclass(frozen=True)
class Inactive:
    """How many documented records of an entity are inactive in BMS, and in how many clients."""

    entity: EntityName
    records: int
    clients: int

    @property
    def in_words(self) -> str:
        """The counts in words."""
        noun = self.entity if self.records != 1 else BY_NAME[self.entity].singular
        inside = f" in {self.clients:,} client{'s' if self.clients != 1 else ''}" if self.clients else ""
        return f"{self.records:,} documented {noun}{inside}"


@dataclass(frozen=True)
class Status:
    """The state of the sync; see ``figures.status``."""

    initial_sync_finished: bool
    entities: dict[EntityName, dict[str, int | None]]
    standings: standings.Counts
    plan: PendingPlan | None
    budget: dict[str, Usage]
    details: DetailsLeft
    hand_overs: PendingImports
    unknown: list[UnknownWrites]
    duplicates: int
    rebuilding_since: str | None
    backups: BackupState
    no_place: list[NoPlace]
    warnings: list[str]
    tenant: str


@dataclass(frozen=True)
class RunWrites:
    """What runs or loads wrote to Passportal: operations by outcome. ``matched`` are adoptions."""

    created: int
    matched: int
    updated: int
    refused: int
    handed_over: int
    unknown: int

    @property
    def attempted(self) -> int:
        """All of them."""
        return self.created + self.matched + self.updated + self.refused + self.handed_over + self.unknown

    @property
    def in_words(self) -> str:
        """The counts in words; empty where there are none. Refusals are counted also where there are none."""
        if not self.attempted:
            return ""
        always = [f"{self.created:,} created", f"{self.matched:,} matched"]
        rare = [(self.updated, "updated"), (self.handed_over, "handed over for an import")]
        return ", ".join([*always, *(f"{count:,} {did}" for count, did in rare if count), f"{self.refused:,} refused"])


@dataclass(frozen=True)
class PastRun:
    """A run holding the home folder, and its writes; see ``figures.runs``."""

    label: str
    run_id: str | None
    started_at: datetime
    ended_at: datetime | None
    failed_because: str | None
    is_last: bool
    writes: RunWrites


@dataclass(frozen=True)
class HeldBack:
    """Updates of one entity in one client, waiting for a finish because most of the client would change at once."""

    entity: EntityName
    client_bms_id: int | None
    client: str | None
    updates: int


@dataclass(frozen=True)
class ReasonCount:
    """How many records of an entity the plan treats alike, and why."""

    entity: EntityName
    disposition: str
    operation: str
    reason: str
    records: int


@dataclass(frozen=True)
class Example:
    """One operation of the plan, or a record with values kept, field by field; see ``sync.operations``."""

    entity: EntityName
    bms_id: int
    name: str | None
    operation: str
    reason: str
    passportal_id: str | None
    changes: list[FieldChange] | None
    kept: list[FieldKept] | None
    unmark_id: str | None


@dataclass(frozen=True)
class PlanOverview:
    """The current plan in numbers; see ``plan_preview.overview``."""

    hash: str
    made_at: str
    operations: int
    stale: bool
    loaded: bool
    state: str
    left: int
    discarded_by: str | None
    refused: int
    undoes: int | None
    needs_approval: int
    held_back: list[HeldBack]
    no_place: list[NoPlace]
    totals: dict[EntityName, dict[str, int]]
    clients: list[dict[str, Any]]
    reasons: list[ReasonCount]
    examples: list[Example]
    vanished: list[Vanished]
    warnings: list[str]
    needs: list[Needed]
    inactive: list[Inactive]


@dataclass(frozen=True)
class Reconciled:
    """What the rules decided about a record; a row of ``sync.reconciled_<entity>``."""

    account_id: int | None
    client_id: str | None
    passportal_id: str | None
    is_new_match: bool
    disposition: str
    reason: str
    needs_approval: bool


@dataclass(frozen=True)
class DecisionTaken:
    """A person's decision; a row of the ledger."""

    decided_at: datetime
    decided_by: str
    verb: str
    was: str | None
    became: str | None
    passportal_id: str | None
    why: str | None


@dataclass(frozen=True)
class Match:
    """A record's saved match; a row of ``sync.matches``."""

    passportal_id: str
    reason: str | None
    matched_at: datetime | None


@dataclass(frozen=True)
class LinkedAccount:
    """A BMS account linked to a client of Passportal; ``is_owner``: it owns the client's own fields."""

    bms_id: int
    name: str | None
    is_owner: bool


@dataclass(frozen=True)
class PlannedOperation:
    """What the current plan does to a record; a row of ``sync.operations``."""

    account_id: int | None
    client_id: str | None
    passportal_id: str | None
    name: str | None
    disposition: str
    operation: str
    reason: str
    changes: list[FieldChange] | None
    kept: list[FieldKept] | None
    no_place: list[FieldUnplaced] | None
    unlinked: list[FieldUnlinked] | None
    template: str | None
    unmark_id: str | None
    needs_approval: bool
    held_back: bool | None
    unproved: bool | None
    needs: list[str] | None
    template_id: str | None


@dataclass(frozen=True)
class SuggestedMatch:
    """A record of Passportal, possibly the same, with the reasons for it."""

    passportal_id: str
    name: str | None
    score: float
    evidence: str


@dataclass(frozen=True)
class Namesake:
    """A record of Passportal with the same name; ``matched_to`` is the BMS id of its match."""

    passportal_id: str
    client_id: str | None
    name: str | None
    in_its_client: bool
    matched_to: int | None


@dataclass(frozen=True)
class WriteDone:
    """One write to Passportal, or the intent of it; a row of ``sync.journal``."""

    plan_id: int
    operation: str
    reason: str
    client_id: str | None
    passportal_id: str | None
    changes: list[FieldChange] | None
    intent_at: datetime
    outcome: str | None
    outcome_at: datetime | None
    detail: str | None
    unmark_id: str | None
    left_at: datetime | None
    portion: int | None
    marked_at: datetime | None
    refuses_values: bool | None = None


@dataclass(frozen=True)
class RecordStory:
    """Everything known of one record; see ``figures.explain``. ``labels``: field → its label in Passportal.

    ``accounts``: the accounts of the Passportal client that it is, or lies in, where several are linked to that.
    ``titles``: the value of a link → the same with the title of the document behind it.
    """

    entity: EntityName
    bms_id: int
    standing: standings.Story | None
    in_bms: Values
    decided: Reconciled | None
    decisions: list[DecisionTaken]
    match: Match | None
    in_passportal: Values | None
    plan: PlannedOperation | None
    suggestions: list[SuggestedMatch]
    candidates: list[Namesake]
    history: list[WriteDone]
    accounts: list[LinkedAccount] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
