"""Descriptions of the warehouse's columns, for pages that show its tables."""

from __future__ import annotations

from bms_pipeline.core.entities import Entity
from bms_pipeline.core.vocabulary import Count

_DESCRIPTIONS = {
    "bms_id": "The record's id in BMS.",
    "account_id": "The id of its client's account in BMS.",
    "account_type_id": "The account's type in BMS, by which the sync can be limited.",
    "category_id": "The id of its category in BMS, by which the sync can be limited.",
    "is_active": "Whether BMS calls it active.",
    "modified_on": "When BMS says that it last changed (BMS's own stamp).",
    "json": "The record as BMS sent it.",
    "first_seen": "Since when it is known in its present client (UTC).",
    "missing_since": "Since when a complete sweep no longer shows it (UTC); empty while BMS lists it.",
    "changed_at": "When a landing last found a change (UTC).",
    "returned_at": "When BMS last listed it again after it was missing (UTC).",
    "left_client_since": "Since when a reading of its client alone no longer shows it there (UTC).",
    "details_asked_at": "When its details were last asked for (UTC).",
    "details_read_at": "When its details were last read well (UTC).",
    "details_keys": "The keys of the mapping that the last good answer about its details was asked for.",
    "details_problem": "Why the last call for its details gave none.",
    "passportal_id": "The id of its record in Passportal.",
    "client_id": "The id of its client in Passportal.",
    "last_modified": "When Passportal says that it last changed.",
    "claimed_id": "A BMS id that somebody wrote into the record; no marker before more agrees.",
    "template": "The Passportal template that decides which fields it has.",
    "template_id": "The id of that template in Passportal.",
    "places": "The fields that can be written; empty: all.",
    "with_details": "Whether its details had been read by then.",
    "is_new_match": "Whether a rule matched it now, and no load has saved the match yet.",
    "disposition": "What it is: matched, to_create, excluded, unmatched, ambiguous, out_of_scope or blocked.",
    "reason": "Why, as a code.",
    "needs_approval": "Whether it rests on a person's decision that no load has carried out yet.",
    "entity": "The kind of record: clients, users, locations, contacts or assets.",
    "operation": "What a load does with it: create, adopt, update or skip.",
    "changes": "The fields that a load writes, each before and after.",
    "kept": "Values that differ and stay as they are in Passportal.",
    "no_place": "Values of BMS for which the template has no field.",
    "needs": "Labels without a value, for want of which the template takes no new record.",
    "unlinked": "Links to other records that are not written, each with the reason.",
    "unmark_id": "The Passportal record that loses this BMS id.",
    "held_back": "Whether it waits because too much of its client would change at once.",
    "unproved": "Whether it waits because its list was not read to a provable end.",
    "outcome": "The outcome under which it counts.",
    "is_operation": "Whether the plan has something to do for it.",
    "waits_for_person": "Whether only a person's finish may load it.",
    "detail": "Why Passportal refused it.",
    "version": "Counts up with each change of this input.",
    "plan_id": "The number of the plan.",
    "counted_at": "When the outcomes were counted (UTC).",
    "read": "Records read: the sum of all outcomes.",
    "name_key": "The name in the form that matching compares.",
    "real_name_key": "The same, empty for a placeholder.",
    "loose_key": "The name without legal form and punctuation: equal ones are nearly the same.",
    "letters_key": "The letters of the name only: equal ones are nearly the same.",
    **{count.value: f"Records that count as {count.value.replace('_', ' ')}." for count in Count},
}
"""Column → description, of every column that means the same in each table."""
_SIDES = {
    "bms_": "as BMS had it at the last load",
    "passportal_": "as Passportal had it after the last load",
    "before_": "as a write replaces it",
    "after_": "as a write leaves it",
}
"""Prefix of a field's column → the time of its value."""


def describe_column(column: str, entity: Entity | None = None) -> str:
    """Return the description of a column: of a table with records of ``entity``, or of all entities. Empty: none."""
    shared = entity.descriptions if entity else {"name": "The record's name; for an input of a plan, the input's."}
    if column in shared:
        return shared[column]
    if column in _DESCRIPTIONS:
        return _DESCRIPTIONS[column]
    if entity and column in entity.links:
        return f"The BMS id of the record that its field {column.removesuffix('_id')} names."
    if entity and column in entity.keys:
        return f"Compared by a matching rule of {entity.name}; empty where there is nothing to compare."
    found = ((prefix, shared.get(column.removeprefix(prefix))) for prefix in _SIDES if column.startswith(prefix))
    return next((f"{_SIDES[prefix][0].upper()}{_SIDES[prefix][1:]}: {text}" for prefix, text in found if text), "")
