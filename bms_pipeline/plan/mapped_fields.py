"""The mapping inside a plan's SQL: the texts to write, the template of a new record, what only the mapping changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bms_pipeline.core.entities import BY_NAME, Entity
from bms_pipeline.core.mapping import LINK_SIGN, Mapping, left_out_sql, moved_sql, word_of
from bms_pipeline.core.reasons import Reason
from bms_pipeline.reconcile.sync_settings import SyncSettings
from bms_pipeline.warehouse import sql


@dataclass(frozen=True)
class MappedFields:
    """The mapped fields of ``entity``, as SQL over the aliases of ``plan_operations.sql``.

    ``b``: the record with the texts to write; ``raw``: with BMS's own words; ``was``: with the texts by the mapping
    loaded last; ``p`` and ``n``: the document, and the template of new ones; ``l``: the base.
    """

    entity: Entity
    settings: SyncSettings

    @property
    def mapping(self) -> Mapping:
        """The mapping as it is stored."""
        return self.settings.mapping

    @property
    def joins(self) -> str:
        """The joins for a mapping; none without any setting."""
        by_category = self.entity.category and self.mapping.templates(self.entity)
        as_listed = f"JOIN bms.{self.entity.name} raw ON raw.bms_id = r.bms_id" if by_category else ""
        loaded = self.settings.loaded_mapping.records_sql(self.entity)
        as_loaded = f"JOIN {loaded} was ON was.bms_id = r.bms_id" if self.changed else ""
        return f"{as_listed} {as_loaded}".strip()

    @property
    def wanted_template(self) -> str:
        """The mapping's id of the template for a new record; NULL for none."""
        return self.mapping.template_sql(self.entity, f"raw.{self.entity.category}")

    @property
    def template_id(self) -> str:
        """The id of the template of the record's document, be it there or to be created."""
        new = f"coalesce(n.template_id, {self.wanted_template})"
        return f"CASE WHEN r.disposition = 'to_create' THEN {new} ELSE p.template_id END"

    def is_left_out(self, column: str) -> str:
        """Whether the field is left out in this template alone: one left out everywhere has no value at all."""
        return left_out_sql(self.mapping, self.entity, column, self.template_id)

    @cached_property
    def changed(self) -> tuple[str, ...]:
        """The columns with another text or another place than when a whole plan was loaded last."""
        now, was = self.mapping, self.settings.loaded_mapping
        if now == was:
            return ()
        return tuple(
            column
            for column in self.entity.columns
            if now.value_sql(self.entity, column) != was.value_sql(self.entity, column)
            or moved_sql(was, now, self.entity, column, "p.template_id") != "false"
        )

    def by_mapping(self, column: str) -> str:
        """Whether the mapping alone makes a write: BMS did not change, or the field has a place it never met."""
        is_moved = moved_sql(self.settings.loaded_mapping, self.mapping, self.entity, column, "p.template_id")
        return (
            f"(l.bms_id IS NOT NULL AND (was.{column} IS NOT DISTINCT FROM l.bms_{column}"
            f" OR {is_moved} AND l.bms_{column} IS NULL AND l.passportal_{column} IS NULL))"
        )

    @cached_property
    def links(self) -> tuple[str, ...]:
        """The columns with links to other documents."""
        return tuple(self.mapping.links(self.entity))

    @property
    def link_targets(self) -> str:
        """For each link the BMS id of the named record, and why it cannot be linked to."""
        return "".join(
            f", b.{column}_id AS bms_{column}_id,"
            f" {self.mapping.unlinked_sql(self.entity, column, 'b.{}'.format)} AS why_no_link_{column}"
            for column in self.links
        )

    @property
    def listed_unlinked(self) -> str:
        """The list of the links left unwritten; NULL for none."""
        each_link = ", ".join(
            f"CASE WHEN unlinked_{column} IS NOT NULL THEN"
            f" {{'field': '{column}', 'bms': bms_{column}_id, 'reason': unlinked_{column}}} END"
            for column in self.links
        )
        return f"nullif(list_filter([{each_link}], lambda e: e IS NOT NULL), [])" if each_link else "NULL"

    def unlinked(self, column: str) -> str:
        """Why the link of the field is not written; NULL where it stands there already, or BMS names no record.

        ``has_place_`` and ``writes_`` of the field are known by then.
        """
        holds_text = f"passportal_{column} IS NOT NULL AND NOT starts_with(passportal_{column}, '{LINK_SIGN}')"
        return (
            f"CASE WHEN disposition NOT IN ('matched', 'to_create') OR is_unreadable OR writes_{column}"
            f" OR bms_{column} = passportal_{column} THEN NULL"
            f" WHEN why_no_link_{column} IS NOT NULL THEN why_no_link_{column}"
            f" WHEN bms_{column} IS NULL THEN NULL"
            f" WHEN {holds_text} THEN '{Reason.LINK_HOLDS_TEXT}'"
            f" WHEN NOT {str(self.settings.can_link).lower()} THEN '{Reason.LINKS_NOT_PROVED}'"
            f" WHEN NOT has_place_{column} THEN NULL"
            f" WHEN disposition = 'to_create' THEN '{Reason.LINK_AFTER_CREATE}' END"
        )

    def new_value(self, column: str, value: str) -> str:
        """The text of a new record: ``value``, or the default of the mapping. It is linked once it is there."""
        if column in self.links:
            return "NULL"
        default = self.mapping.rule(self.entity, column).default
        return value if default is None else f"coalesce({value}, {sql.quoted(default)})"

    @property
    def lacks_required(self) -> str:
        """Whether a new record lacks a required value, or a place for it."""
        return " OR ".join(map(self._lacks, self._required)) or "false"

    @property
    def _required(self) -> list[str]:
        """The fields required by the mapping."""
        return [column for column in self.entity.columns if self.mapping.rule(self.entity, column).required]

    def _lacks(self, column: str) -> str:
        """Whether a new record has no value of this field, or no place for it."""
        return f"({self.new_value(column, f'bms_{column}')} IS NULL OR NOT has_place_{column})"

    @property
    def template_needs(self) -> str:
        """What the template of a new record requires, and whether that is tried all the same.

        What only a refusal showed counts while such a refusal is held, and not for a record a person asked for.
        """
        held = f"NOT EXISTS ({self._creates} AND outcome = 'refused' AND refuses_values)"
        return f", n.needs AS template_needs, (a.bms_id IS NOT NULL OR {held}) AS is_asked_for"

    @property
    def asked_for(self) -> str:
        """The join for ``template_needs``: the new records a person asked to send again."""
        return f"LEFT JOIN (SELECT DISTINCT bms_id {self._creates} AND refuses_values = false) a ON a.bms_id = r.bms_id"

    @property
    def _creates(self) -> str:
        return f"FROM sync.journal WHERE entity = '{self.entity.name}' AND operation = 'create'"

    def needs(self, *, of_template: bool) -> str:
        """The labels without a value, for want of which a new record is not created; NULL for none."""
        required = [
            f"CASE WHEN {self._lacks(name)} THEN {sql.quoted(self._label(name))} END" for name in self._required
        ]
        if not of_template and not required:
            return "NULL::VARCHAR[]"
        blank = ", ".join(f"CASE WHEN {self._lacks(name)} THEN '{name}' END" for name in self.entity.columns[1:])
        by_template = (
            f"list_transform(list_filter(coalesce(template_needs, []), lambda e: NOT (e.is_learned AND is_asked_for)"
            f" AND (e.field IS NULL OR list_contains([{blank}], e.field))), lambda e: e.label)"
        )
        lists = [*([by_template] if of_template else []), *([f"[{', '.join(required)}]"] if required else [])]
        found = f"list_concat({', '.join(lists)})" if len(lists) > 1 else lists[0]
        return (
            "CASE WHEN disposition = 'to_create' THEN"
            f" nullif(list_sort(list_distinct(list_filter({found}, lambda e: e IS NOT NULL))), []) END"
        )

    def _label(self, column: str) -> str:
        return self.mapping.label(self.entity, column) or self.entity.labels[column]


def written_under_sql(mapping: Mapping, entity: Entity, column: str) -> str:
    """Return SQL for rows (BMS id, text) of what is ours under the old label of ``column``, a field to blank it."""
    rule = mapping.rule(entity, column)
    field = rule.clears or ""
    own = BY_NAME[entity.name].labels.get(field)
    return sql.read("plan/written_under").format(
        entity=entity.name,
        field=field,
        cleared=column,
        word=word_of(entity, field),
        label=sql.quoted(rule.label or ""),
        own="NULL" if own is None else sql.quoted(own),
    )
