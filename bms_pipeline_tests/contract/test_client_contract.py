"""What this project reads exists in the vendor's document, with a type that fits."""

from __future__ import annotations

import pytest

from bms_pipeline.core.entities import ENTITIES, LIST_CALLS, Entity, ListCall, WireType
from bms_pipeline_tests.contract.document import operation, schema

FITTING = {"BIGINT": "integer", "VARCHAR": "string", "BOOLEAN": "boolean", "DOUBLE": "number"}


def folded(fields: dict[str, str]) -> dict[str, str]:
    return {name.casefold(): kind for name, kind in fields.items()}


def row_schema(list_call: ListCall) -> dict[str, str]:
    """The fields of one row of the list."""
    envelope = schema(operation("GET", list_call.path)["answer"])
    return schema(envelope["Result"].removesuffix("?").removesuffix("[]"))


def record_fields(entity: Entity) -> dict[str, str]:
    """The fields of one record of the entity, names without case."""
    fields = folded(row_schema(entity.list_call))
    if entity.array_in is None:
        return fields
    return folded(schema(fields[entity.array_in.casefold()].removesuffix("?").removesuffix("[]")))


def misfits(wire: WireType, kind: str, where: str) -> list[str]:
    """Where a declared type cannot hold what the vendor's type ``kind`` sends."""
    bare = kind.removesuffix("?")
    if isinstance(wire, list):
        if not bare.endswith("[]"):
            return [f"{where}: a list, but the vendor sends {kind}"]
        return misfits(wire[0], bare.removesuffix("[]"), where)
    if isinstance(wire, dict):
        fields = folded(schema(bare))
        return [
            each
            for name, child in wire.items()
            for each in (
                misfits(child, fields[name.casefold()], f"{where}.{name}")
                if name.casefold() in fields
                else [f"{where}.{name}: not in {bare}"]
            )
        ]
    return [] if bare.partition("/")[0] == FITTING[wire] else [f"{where}: {wire}, but the vendor sends {kind}"]


@pytest.mark.parametrize("list_call", LIST_CALLS, ids=lambda each: each.name)
def test_list_calls_are_documented_as_declared(list_call: ListCall) -> None:
    facts = operation("GET", list_call.path)
    assert list_call.has_total == ("TotalRecords" in schema(facts["answer"]))
    assert list_call.modified_since == ("Filter.ModifiedOnFrom" in facts["query"])
    assert {"PageSize", "PageNumber", "Sort"} <= set(facts["query"])


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda each: each.name)
def test_every_key_that_is_read_exists_with_a_type_that_fits(entity: Entity) -> None:
    fields = record_fields(entity)
    assert [key for key in entity.wire if key.casefold() not in fields] == []
    assert [each for key, kind in entity.wire.items() for each in misfits(kind, fields[key.casefold()], key)] == []


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda each: each.name)
def test_every_documented_key_is_read_or_known_not_to_be(entity: Entity) -> None:
    assert {key.casefold() for key in (*entity.wire, *entity.other_keys)} == set(record_fields(entity))


def test_a_type_that_does_not_fit_is_seen() -> None:
    assert misfits([{"emailAddress": "BIGINT", "colour": "VARCHAR"}], "ContactEmailOutputDto[]?", "emails") == [
        "emails.emailAddress: BIGINT, but the vendor sends string?",
        "emails.colour: not in ContactEmailOutputDto",
    ]
    assert misfits(["VARCHAR"], "string?", "name") == ["name: a list, but the vendor sends string?"]
