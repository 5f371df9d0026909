"""Reconcile: the disposition of every record of an entity, and its reason.

Reconcile is pure and set-based. Stored records, matches, exclusions and settings go in; ``sync.reconciled_<entity>``
comes out, one row for each record BMS has now. It never guesses between two candidates, and blank equals nothing. The
order of the input changes nothing, because each rule looks at all records at once.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

import duckdb

from bms_pipeline.core.entities import Entity, Rule
from bms_pipeline.core.errors import RecordsUnexplained
from bms_pipeline.core.reasons import Reason
from bms_pipeline.reconcile.sync_settings import SyncSettings, read_sync_settings
from bms_pipeline.warehouse import keys, landing, sql
from bms_pipeline.warehouse.inputs import Inputs, note_made_from, read_inputs


@dataclass(frozen=True)
class Scope:
    """The clients of one plan: BMS account ids, None for all. Every record is reconciled all the same."""

    clients: tuple[int, ...] | None = None

    def left_out(self, entity: Entity) -> str:
        """Return SQL over a record with ``account_id``: whether the plan leaves it out."""
        return not_among("account_id", self.clients) if entity.name != "users" else "false"


@dataclass(frozen=True)
class Basis:
    """What a reconciliation rests on, read once for all entities: nothing else may write while they are reconciled."""

    settings: SyncSettings
    inputs: Inputs


def read_basis(connection: duckdb.DuckDBPyConnection) -> Basis:
    """Read the settings and every input as they are stored."""
    return Basis(read_sync_settings(connection), read_inputs(connection))


def reconcile_entity(connection: duckdb.DuckDBPyConnection, entity: Entity, basis: Basis) -> dict[str, int]:
    """Replace ``sync.reconciled_<entity>``; return the number of records for each disposition.

    Clients have to be reconciled before the entities inside them. A table made from the same inputs is left as it is.
    Raises ``RecordsUnexplained`` when the dispositions do not account for every record.
    """
    inputs = basis.inputs
    name, made_from = reconciled(entity), _made_from(inputs, entity)
    if inputs.is_made_from(name, made_from):
        return dispositions(connection, entity)
    connection.execute(f"TRUNCATE sync.reconciled_{entity.name}")
    read = _count_records(connection, entity)
    if read:
        _decide(connection, entity, basis.settings)
    counts = dispositions(connection, entity)
    _check_all_explained(entity, read, counts)
    note_made_from(connection, name, made_from)
    inputs.made_from[name] = made_from  # the entities inside clients rest on it
    return counts


def note_reconciled(connection: duckdb.DuckDBPyConnection, entities: Collection[Entity]) -> None:
    """Note that the dispositions of ``entities`` hold for the present versions of their inputs.

    Only for a caller that reconciled, and then counted up the version of an input that it had changed before.
    """
    inputs = read_inputs(connection)
    for entity in entities:
        name, made_from = reconciled(entity), _made_from(inputs, entity)
        note_made_from(connection, name, made_from)
        inputs.made_from[name] = made_from


def reconciled(entity: Entity) -> str:
    """Return the name of this module's result for ``entity`` in ``sync.made_from``."""
    return f"reconciled.{entity.name}"


def _made_from(inputs: Inputs, entity: Entity) -> str:
    """Return the inputs of the dispositions of ``entity``; inside clients, also the inputs of the clients."""
    clients = inputs.made_from.get("reconciled.clients") if entity.has_client else None
    return json.dumps([inputs.of(entity), clients])


def _count_records(connection: duckdb.DuckDBPyConnection, entity: Entity) -> int:
    row = connection.execute(f"SELECT count(*) FROM bms.{entity.name} WHERE missing_since IS NULL").fetchone()
    return int(row[0]) if row else 0


def _decide(connection: duckdb.DuckDBPyConnection, entity: Entity, settings: SyncSettings) -> None:
    """Fill ``sync.reconciled_<entity>``: first the records settled before any matching, then rule by rule."""
    connection.execute(_in_scope_sql(entity, settings))
    for table in ("pairs", "doubts"):
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} (bms_id BIGINT, passportal_id VARCHAR, reason VARCHAR)"
        )
    connection.execute(
        sql.read("reconcile/marked_pairs").format(
            entity=entity.name, has_client=str(entity.has_client).lower(), agrees=_agrees(entity)
        )
    )
    is_unread = landing.only_clients_read(connection, entity)
    for rule in entity.rules:
        connection.execute(_pairs_sql(entity, rule, settings, inside_client=is_unread))
    connection.execute(_unread_elsewhere_sql(entity, is_unread=is_unread))
    connection.execute(_leftovers_sql(entity))
    connection.execute(
        sql.read("reconcile/reconcile").format(
            table=f"sync.reconciled_{entity.name}",
            creatable=_creatable(entity, settings),
            twins_wait=str(entity.decided_by_person).lower(),
            is_apart=_is_apart(entity),
        )
    )


def reconcile_all(connection: duckdb.DuckDBPyConnection, entities: Collection[Entity]) -> None:
    """Reconcile ``entities``, which are in loading order, with the settings as they are stored."""
    basis = read_basis(connection)
    for entity in entities:
        reconcile_entity(connection, entity, basis)


def dispositions(connection: duckdb.DuckDBPyConnection, entity: Entity) -> dict[str, int]:
    """Return the number of records for each disposition, as last decided."""
    rows = connection.execute(
        f"SELECT disposition, count(*) FROM sync.reconciled_{entity.name} GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    return dict(rows)


def _in_scope_sql(entity: Entity, settings: SyncSettings) -> str:
    """Return SQL for the temp table ``record``: all records, any reason to skip their matching, and their client."""
    return sql.read("reconcile/records_in_scope").format(
        entity=entity.name,
        keys="".join(f", b.{key}" for key in keys.key_columns(entity)),
        sync_off=str(not settings.sync[entity.name]).lower(),
        inactive="NOT b.is_active" if settings.active_only else "false",
        wrong_type=_wrong_type(settings) if entity.name == "clients" else "false",
        vendor="t.is_vendor AND NOT t.is_client" if settings.account_types is None else "false",
        wrong_category=_wrong_category(entity, settings),
        not_chosen=not_among("b.bms_id", settings.clients) if entity.name == "clients" else "false",
        has_client=str(entity.has_client).lower(),
        has_company_name=str(entity.decided_by_person).lower(),
        not_listed=str(entity.name not in settings.can_list).lower(),
        clients_handed_over=str("clients" not in settings.can_write).lower(),
        client="sync.reconciled_clients" if entity.has_client else "(SELECT * FROM sync.reconciled_clients LIMIT 0)",
    )


def not_among(value_sql: str | None, chosen: Collection[int | str] | None) -> str:
    """Return SQL: whether the value is none of those chosen; where nothing was chosen, all are."""
    if chosen is None or value_sql is None:
        return "false"
    listed = ", ".join(str(value) if isinstance(value, int) else sql.quoted(value.lower()) for value in chosen)
    return f"coalesce({value_sql} NOT IN ({listed or 'NULL'}), true)"


def _wrong_type(settings: SyncSettings) -> str:
    """Return SQL: whether an account's type is not synced; by default only the types BMS calls clients are."""
    if settings.account_types is None:
        return "NOT coalesce(t.is_client, false)"
    by_name = not_among("lower(t.name)", settings.account_types)
    return f"({by_name} AND {not_among('b.account_type_id', settings.ids_of('account_types'))})"


def _wrong_category(entity: Entity, settings: SyncSettings) -> str:
    """Return SQL: whether the category of a record is not synced: it has no chosen name, nor the id of one."""
    if entity.category is None:
        return "false"
    by_name = not_among(f"lower(b.{entity.category})", settings.asset_categories)
    return f"({by_name} AND {not_among('b.category_id', settings.ids_of('asset_categories'))})"


def _pairs_sql(entity: Entity, rule: Rule, settings: SyncSettings, *, inside_client: bool) -> str:
    """Return SQL to add the pairs of ``rule`` to ``pairs``: one record with the keys on each side, both still free.

    The pairs of a doubtful rule go to ``doubts``. ``inside_client``: also keys unique in the whole tenant decide inside
    a client alone, because the other clients were not all read.
    """
    group = list(rule.keys) if rule.across_clients and not inside_client else ["client_id", *rule.keys]
    evidence = [
        key
        for other_rule in entity.rules
        if other_rule.across_clients
        for key in other_rule.keys
        if key not in (*rule.keys, *group)
    ]
    if settings.identical_names == "exact" and "real_name_key" in rule.keys:
        evidence.append("name")
    return sql.read("reconcile/pairs").format(
        entity=entity.name,
        table="doubts" if rule.is_doubtful else "pairs",
        has_client=str(entity.has_client).lower(),
        group=", ".join(group),
        borne=" AND ".join(f"{key} IS NOT NULL" for key in rule.keys) + f" AND NOT {_is_apart(entity)}",
        evidence="".join(f", any_value({key}) AS {key}" for key in evidence),
        same_group=" AND ".join(f"r.{key} IS NOT DISTINCT FROM other.{key}" for key in group),
        contradicted=" OR ".join(f"r.{key} <> other.{key}" for key in evidence) or "false",
        reason=rule.reason,
    )


def _unread_elsewhere_sql(entity: Entity, *, is_unread: bool) -> str:
    """Return SQL for the temp table ``unread_elsewhere``: the records that wait until their list was read whole."""
    unique = [rule for rule in entity.rules if rule.across_clients and not rule.is_doubtful]
    same = " OR ".join(f"r.{key} = other.{key}" for rule in unique for key in rule.keys)
    return sql.read("reconcile/unread_elsewhere").format(
        entity=entity.name,
        is_unread=str(is_unread).lower(),
        has_client=str(entity.has_client).lower(),
        same_as_other=same or "false",
        list_call=entity.list_call.name,
        waits_for_list=Reason.SERIAL_IN_ANOTHER_CLIENT if entity.has_client else Reason.ACCOUNTS_NOT_ALL_READ,
    )


def _is_apart(entity: Entity) -> str:
    """Return SQL: whether a record has the name of one in Passportal that only a person matches."""
    return f"coalesce(name_key IN ({', '.join(map(sql.quoted, entity.apart))}), false)" if entity.apart else "false"


def _agrees(entity: Entity) -> str:
    """Return SQL: whether two records have the same name, or share a key unique in the whole tenant (a serial)."""
    alone = [key for rule in entity.rules if rule.across_clients for key in rule.keys]
    return " OR ".join(f"r.{key} = p.{key}" for key in ("name_key", *alone))


def _leftovers_sql(entity: Entity) -> str:
    """Return SQL for the temp table ``leftover``: why no rule matched a record, as far as other records show it."""
    return sql.read("reconcile/leftovers").format(
        entity=entity.name,
        has_client=str(entity.has_client).lower(),
        # Where a person decides about twins, all are counted; elsewhere only those with the same name in Passportal.
        every_twin=str(entity.decided_by_person).lower(),
    )


def _creatable(entity: Entity, settings: SyncSettings) -> str:
    """Return SQL: whether a record without a match may be created now (DESIGN: who may be created when)."""
    if not settings.initial_sync_finished:
        return str(not entity.decided_by_person).lower()
    new = f"first_seen > TIMESTAMP '{settings.initial_sync_finished_at}'"
    if settings.auto_create[entity.name]:
        # Kinds created by the first finish go on without a person; clients and users wait for one.
        return new if entity.decided_by_person else "true"
    return "false" if entity.decided_by_person else f"NOT ({new})"


def _check_all_explained(entity: Entity, read: int, counts: dict[str, int]) -> None:
    if read != sum(counts.values()):
        raise RecordsUnexplained(
            f"{entity.name}: {read} records were read and {sum(counts.values())} are accounted for ({counts}).",
            "This is a defect of the pipeline: nothing was planned. Please report it with this message.",
        )
