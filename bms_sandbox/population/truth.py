"""The truth of a tenant: for every BMS record, what a correct reconciliation must say about it."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

Paired = Literal["identical", "near"]
Single = Literal["ambiguous", "new", "blocked", "out_of_scope", "unnamed"]
Category = Literal[Paired, Single]

CATEGORIES: tuple[Category, ...] = (*get_args(Paired), *get_args(Single))


class EntityTruth(msgspec.Struct):
    """The partition of one entity's BMS records; paired categories name the Passportal record as well."""

    identical: dict[str, str] = msgspec.field(default_factory=dict)
    near: dict[str, str] = msgspec.field(default_factory=dict)
    ambiguous: list[int] = msgspec.field(default_factory=list)
    new: list[int] = msgspec.field(default_factory=list)
    blocked: list[int] = msgspec.field(default_factory=list)
    out_of_scope: list[int] = msgspec.field(default_factory=list)
    unnamed: list[int] = msgspec.field(default_factory=list)

    def pair(self, category: Paired, bms_id: int, passportal_id: str) -> None:
        """Both ids are the same record."""
        (self.identical if category == "identical" else self.near)[str(bms_id)] = passportal_id

    def put(self, category: Single, bms_id: int) -> None:
        """The BMS record has no one counterpart."""
        getattr(self, category).append(bms_id)


class Truth(msgspec.Struct):
    """The truth of all five entities of the tenant made from ``size`` and ``seed``."""

    size: str
    seed: int
    entities: dict[str, EntityTruth]
