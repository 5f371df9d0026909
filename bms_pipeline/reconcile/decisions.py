"""What people decide about records, applied to the warehouse: match, unmatch, create, exclude, include."""

from __future__ import annotations

from dataclasses import dataclass

from bms_pipeline.entities import EntityName

VERBS = ("match", "unmatch", "create", "exclude", "include")


@dataclass(frozen=True)
class Decision:
    """What a person decided about one record.

    ``passportal_id``: whom ``match`` links it to. ``beside``: ``create`` it although Passportal has one of the same or
    nearly the same name. ``line``: of the file that the decision comes from.
    """

    verb: str
    entity: EntityName
    bms_id: int
    passportal_id: str | None = None
    beside: bool = False
    why: str = ""
    line: int | None = None
