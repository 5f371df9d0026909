"""The questions of a plan about each field, as SQL over the aliases of ``plan_operations.sql``.

Each is asked once, in ``met``, and has a column named after it (``writes_phone``). What a record comes to is made of
these answers::

    b, p, l, n ──▶ has_place_, writes_, differs_, ... of each field ──▶ anything written, kept, lacking ──▶ operation
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

from bms_pipeline.core.entities import Entity
from bms_pipeline.core.junk import Kind, is_junk
from bms_pipeline.core.reasons import Reason
from bms_pipeline.core.vocabulary import Disposition, FieldOwner
from bms_pipeline.plan.mapped_fields import MappedFields, written_under_sql
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reconcile.sync_settings import SyncSettings
from bms_pipeline.warehouse import sql

_OWNS = f"reason <> '{Reason.BRANCH_BY_PERSON}'"
"""SQL over a reconciled record: whether it owns the fields of its record in Passportal, which a branch does not."""


def writes(entity: Entity, settings: SyncSettings, column: str) -> str:
    """Return SQL over ``b``, ``p`` and ``l``: whether a load writes BMS's value of this field into Passportal.

    ``b`` and ``p`` are the record on both sides; ``l`` holds the values of both sides at the last sync. Junk is no
    value: it replaces none, and gives way to one.
    """
    is_unproved_link = column in settings.mapping.links(entity) and not settings.can_link
    if entity.name not in settings.can_write or is_unproved_link:
        return "false"
    if settings.mapping.rule(entity, column).clears:
        return f"coalesce(row(b.bms_id, p.{column}) IN ({written_under_sql(settings.mapping, entity, column)}), false)"
    bms, passportal = has_value(entity, "b", column), has_value(entity, "p", column)
    match settings.owner(entity.name, column):
        case FieldOwner.BMS_WINS:
            return f"({bms} AND b.{column} IS DISTINCT FROM p.{column})"
        case FieldOwner.PASSPORTAL_WINS:
            return "false"
        case FieldOwner.FILL_IF_EMPTY:
            return f"({bms} AND NOT {passportal})"
        case _:
            return _changed_in_bms(entity, settings, column)


def has_value(entity: Entity, side: str, column: str) -> str:
    """Return SQL: whether this side has more than junk. Junk is looked for only where both differ; it is slow."""
    kind = next((field.kind for field in entity.fields if field.name == column), Kind.TEXT)
    return (
        f"CASE WHEN b.{column} IS NULL OR p.{column} IS NULL THEN {side}.{column} IS NOT NULL"
        f" WHEN b.{column} = p.{column} THEN true ELSE NOT {is_junk(kind, f'{side}.{column}')} END"
    )


def _changed_in_bms(entity: Entity, settings: SyncSettings, column: str) -> str:
    """Return SQL: whether BMS has a value Passportal lacked at the last sync, or changed it while Passportal did not.

    The last sync of a detail is the time it was read, which may be long after the record was loaded. A default that we
    wrote until then is no value of Passportal's own.
    """
    never_met = "l.bms_id IS NULL"
    if settings.mapping.needs_details(entity, column):
        rule = settings.mapping.rule(entity, column)
        is_written_before = rule.default is not None or rule.inactive is not None
        never_met = "l.with_details IS NOT true" + (f" AND l.bms_{column} IS NULL" if is_written_before else "")
    if column in settings.mapping.links(entity):  # it may have waited for the record that it names
        never_met = f"l.bms_{column} IS NULL"
    return (
        f"({has_value(entity, 'b', column)} AND b.{column} IS DISTINCT FROM p.{column} AND CASE WHEN {never_met}"
        f" THEN NOT {has_value(entity, 'p', column)} ELSE b.{column} IS DISTINCT FROM l.bms_{column}"
        f" AND p.{column} IS NOT DISTINCT FROM l.passportal_{column} END)"
    )


def takes(column: str) -> str:
    """Return SQL: whether the record ``p`` of Passportal has a place for the field."""
    return f"coalesce(list_contains(p.places, '{column}'), true)"


@dataclass(frozen=True)
class FieldQuestions:
    """The questions about the fields of ``entity``, in a plan of ``scope``.

    ``needs``: whether a template of new records is known to require an element.
    """

    entity: Entity
    settings: SyncSettings
    scope: Scope
    needs: bool

    def operations_sql(self) -> str:
        """Return the statement that fills ``sync.planned_<entity>``."""
        return sql.read("plan/plan_operations").format(**self._about_records, **self._asked, **self._concluded)

    @cached_property
    def _mapped(self) -> MappedFields:
        return MappedFields(self.entity, self.settings)

    @cached_property
    def _left_out(self) -> dict[str, str]:
        """The fields left out in one template alone → whether they are; one left out everywhere has no value here."""
        found = {column: self._mapped.is_left_out(column) for column in self.entity.columns}
        return {column: text for column, text in found.items() if text not in ("false", "true")}

    @property
    def _about_records(self) -> dict[str, str]:
        """What is asked about a record as a whole."""
        mapped = self._mapped
        return {
            "entity": self.entity.name,
            "left_out": self.scope.left_out(self.entity),
            "owns": _OWNS,
            "records": self.settings.mapping.records_sql(self.entity),
            "mapping_joins": mapped.joins,
            "wanted": mapped.wanted_template,
            "template_id": mapped.template_id,
            "needs": mapped.needs(of_template=self.needs),
            "is_required": mapped.lacks_required,
            "of_template": mapped.template_needs if self.needs else "",
            "asked_for": mapped.asked_for if self.needs else "",
            "links": mapped.link_targets,
            "listed_unlinked": mapped.listed_unlinked,
        }

    @property
    def _asked(self) -> dict[str, str]:
        """What is asked about each field, once."""
        return {
            "both_sides": self._listed(lambda name: f"b.{name} AS bms_{name}, p.{name} AS passportal_{name}"),
            "has_place": self._listed(lambda name: f"{self._where_it_is(name, _has_place(name))} AS has_place_{name}"),
            "written": self._listed(lambda name: f"{self._written(name)} AS writes_{name}"),
            "differing": self._listed(lambda name: f"{self._differing(name)} AS differs_{name}"),
            "mapped": "".join(
                [f", {text} AS is_left_out_{name}" for name, text in self._left_out.items()]
                + [f", {self._mapped.by_mapping(name)} AS by_mapping_{name}" for name in self._mapped.changed]
            ),
            "unlinked": "".join(
                f", CASE WHEN NOT ({self._left_out.get(name, 'false')}) THEN {self._mapped.unlinked(name)} END"
                f" AS unlinked_{name}"
                for name in self._mapped.links
            ),
        }

    @property
    def _concluded(self) -> dict[str, str]:
        """What the answers come to: the operation, its reason, its values, and what is listed and not written."""
        mapping, links, changed = self.settings.mapping, self._mapped.links, self._mapped.changed
        later = [name for name in self.entity.columns if mapping.needs_details(self.entity, name)]
        owned_by_nobody = [
            name for name in self.entity.columns if self.settings.owner(self.entity.name, name) == FieldOwner.LAST_EDIT
        ]
        return {
            "anything_written": self._any(lambda name: f"writes_{name}"),
            "anything_kept": self._any(self._kept),
            "kept": self._listed(
                lambda name: (
                    f"CASE WHEN {self._kept(name)} THEN"
                    f" {{'field': '{name}', 'bms': bms_{name}, 'passportal': passportal_{name}}} END"
                )
            ),
            "anything_lacking": self._any(self._lacking),
            "lacking": self._listed(
                lambda name: f"CASE WHEN {self._lacking(name)} THEN {{'field': '{name}', 'bms': bms_{name}}} END"
            ),
            "bms_changed": " OR ".join(f"writes_{name}" for name in owned_by_nobody) or "false",
            "more_than_mapped": self._writes_more_than(changed, "NOT by_mapping_{}") if changed else "true",
            "more_than_completed": self._writes_more_than((*later, *links), "passportal_{} IS NOT NULL"),
            "more_than_linked": self._writes_more_than(links, "passportal_{} IS NOT NULL") if links else "true",
            "values": self._listed(self._value),
        }

    def _listed(self, question: Callable[[str], str]) -> str:
        return ", ".join(map(question, self.entity.columns))

    def _any(self, question: Callable[[str], str]) -> str:
        return " OR ".join(map(question, self.entity.columns))

    def _writes_more_than(self, expected: Collection[str], unless: str) -> str:
        """Whether a field is written that is not ``expected``, or one of these where ``unless`` holds."""
        return self._any(lambda name: f"writes_{name}" + (f" AND {unless.format(name)}" if name in expected else ""))

    def _where_it_is(self, column: str, question: str) -> str:
        """The answer to ``question``, and no where the template leaves the field out."""
        return f"({question}) AND NOT {self._left_out[column]}" if column in self._left_out else question

    def _is_open(self, column: str, *dispositions: Disposition) -> str:
        """Whether the plan looks at the field: also after its record became inactive, where the field says so."""
        listed = ", ".join(f"'{disposition}'" for disposition in dispositions)
        found = f"disposition IN ({listed})"
        return f"({found} OR is_retired)" if column in self.settings.mapping.says_inactive(self.entity) else found

    def _written(self, column: str) -> str:
        is_written = writes(self.entity, self.settings, column)
        return f"{self._is_open(column, Disposition.MATCHED)} AND r.{_OWNS} AND has_place_{column} AND {is_written}"

    def _differing(self, column: str) -> str:
        """Whether BMS has another value. Names equal under the folding of the matching need no mention."""
        differs = "b.name_key IS DISTINCT FROM p.name_key" if column == "name" else "true"
        listed = "true" if self.entity.name in self.settings.can_write else f"p.{column} IS NOT NULL"
        differs = f"b.{column} IS DISTINCT FROM p.{column} AND {differs} AND {listed}"
        return self._where_it_is(column, f"{has_value(self.entity, 'b', column)} AND {differs}")

    def _lacking(self, column: str) -> str:
        """Whether BMS has a value for which Passportal has neither a value nor a place."""
        there = f"{self._is_open(column, Disposition.MATCHED, Disposition.TO_CREATE)} AND {_OWNS} AND NOT is_unreadable"
        lacks = f"({there} AND bms_{column} IS NOT NULL AND passportal_{column} IS NULL AND NOT has_place_{column})"
        return f"({lacks} AND NOT is_left_out_{column})" if column in self._left_out else lacks

    def _kept(self, column: str) -> str:
        """Whether another value stays in Passportal."""
        is_no_link = f" AND unlinked_{column} IS NULL" if column in self._mapped.links else ""
        return (
            f"({self._is_open(column, Disposition.MATCHED)} AND {_OWNS} AND differs_{column} AND NOT writes_{column}"
            f" AND NOT {self._lacking(column)}{is_no_link})"
        )

    def _value(self, column: str) -> str:
        """The value before and after a write; both NULL without one."""
        chosen = f"CASE WHEN operation = 'create' AND has_place_{column} OR writes_{column} THEN"
        own = f"bms_{column}"
        new = self._mapped.new_value(column, own)
        after = new if new == own else f"CASE WHEN operation = 'create' THEN {new} ELSE {own} END"
        return f"{chosen} passportal_{column} END AS before_{column}, {chosen} {after} END AS after_{column}"


def _has_place(column: str) -> str:
    """Return SQL: whether the field can be written, in the record of Passportal or in a new one."""
    new = f"coalesce(list_contains(n.places, '{column}'), true)"
    return f"CASE WHEN r.disposition = '{Disposition.TO_CREATE}' THEN {new} ELSE {takes(column)} END"
