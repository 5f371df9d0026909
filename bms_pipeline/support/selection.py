"""Choose the records of a bundle: those a person asked about, and those that matching looks at together with them.

A record of the second kind belongs to the bundle only because it has the name, the serial number or the id of a chosen
one. Of these the bundle has only what matching looks at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from bms_pipeline.core.entities import BY_NAME, CLIENTS, ENTITIES, Entity, EntityName
from bms_pipeline.core.errors import RecordNotFound
from bms_pipeline.warehouse import sql

INSIDE_CLIENT = ("name_key", "loose_key", "letters_key")
"""The keys of names: they count inside a client alone, and for clients and users everywhere."""


@dataclass(frozen=True)
class Request:
    """The records that a bundle is about: all, those of ``about`` (entity and BMS id), ``clients`` with all inside."""

    about: tuple[tuple[EntityName, int], ...] = ()
    clients: tuple[int, ...] = ()
    whole: bool = False

    @property
    def has_records(self) -> bool:
        """Whether the bundle has records at all."""
        return bool(self.whole or self.about or self.clients)


def choose(connection: duckdb.DuckDBPyConnection, request: Request) -> None:
    """Fill ``chosen_<entity>`` (``side``, ``id``, ``whole``) for every entity. Raises ``RecordNotFound``."""
    for entity in ENTITIES:
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE chosen_{entity.name} (side VARCHAR, id VARCHAR, whole BOOLEAN)"
        )
    if request.whole:
        for entity in ENTITIES:
            _add(connection, entity, "bms", f"SELECT bms_id FROM bms.{entity.name}", whole=True)
            _add(connection, entity, "passportal", f"SELECT passportal_id FROM passportal.{entity.name}", whole=True)
        return
    for name, bms_id in (*request.about, *(("clients", client) for client in request.clients)):
        _check_listed(connection, BY_NAME[name], bms_id)
        _add(connection, BY_NAME[name], "bms", f"SELECT {bms_id:d}", whole=True)
    _add_content(connection, request.clients)
    for entity in reversed(ENTITIES):  # what is inside clients first: then their clients
        _add_related(connection, entity)
        if entity.has_client:
            _add_clients_of(connection, entity)


def columns_of_related(entity: Entity) -> frozenset[str]:
    """Return the columns that matching looks at: all that a bundle has of a record nobody asked about."""
    made_of = " ".join((*entity.keys.values(), entity.category or ""))
    return frozenset({"name", "first_name", "last_name", *re.findall(r"\w+", made_of)} & set(entity.columns))


def _check_listed(connection: duckdb.DuckDBPyConnection, entity: Entity, bms_id: int) -> None:
    if connection.execute(f"FROM bms.{entity.name} WHERE bms_id = ?", [bms_id]).fetchone() is None:
        raise RecordNotFound(
            f"BMS has listed no {entity.singular} {bms_id} so far.",
            f"`bms-pipeline suggest {entity.name}` lists ids. A bundle needs no call to a service: it has what the"
            " last sync read.",
        )


def _add(connection: duckdb.DuckDBPyConnection, entity: Entity, side: str, ids: str, *, whole: bool) -> None:
    connection.execute(
        f"INSERT INTO chosen_{entity.name} SELECT DISTINCT '{side}', id::VARCHAR, {str(whole).lower()}"
        f" FROM ({ids}) AS found (id) WHERE id IS NOT NULL"
        f" AND NOT EXISTS (FROM chosen_{entity.name} c WHERE c.side = '{side}' AND c.id = found.id::VARCHAR)"
    )


def _add_content(connection: duckdb.DuckDBPyConnection, clients: Sequence[int]) -> None:
    """Add everything inside ``clients``, on both sides."""
    listed = ", ".join(f"{client:d}" for client in clients) or "NULL"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE clients_inside AS"
        f" SELECT passportal_id FROM sync.reconciled_clients WHERE bms_id IN ({listed}) AND passportal_id IS NOT NULL"
        f" UNION SELECT passportal_id FROM sync.matches WHERE entity = 'clients' AND bms_id IN ({listed})"
    )
    _add(connection, CLIENTS, "passportal", "SELECT passportal_id FROM clients_inside", whole=True)
    for entity in (entity for entity in ENTITIES if entity.has_client):
        ids = f"SELECT bms_id FROM bms.{entity.name} WHERE account_id IN ({listed})"
        _add(connection, entity, "bms", ids, whole=True)
        ids = f"SELECT passportal_id FROM passportal.{entity.name} WHERE client_id IN (FROM clients_inside)"
        _add(connection, entity, "passportal", ids, whole=True)


def _add_related(connection: duckdb.DuckDBPyConnection, entity: Entity) -> None:
    """Add the records that share a key or a link with a chosen one, until there are no more."""
    keys = [*INSIDE_CLIENT, *entity.keys]
    same_keys = " UNION ALL ".join(
        f"SELECT k.side, k.id FROM known k JOIN chosen c ON k.{key} = c.{key}"
        + (" AND k.inside IS NOT DISTINCT FROM c.inside" if key in INSIDE_CLIENT or key == "email_key" else "")
        for key in keys
    )
    statement = sql.read("support/related").format(
        entity=entity.name,
        has_client=str(entity.has_client).lower(),
        keys=", ".join(keys),
        columns=", ".join(f"b.{key}" for key in keys),
        same_keys=same_keys,
    )
    while (connection.execute(statement).fetchone() or (0,))[0]:
        pass


def _add_clients_of(connection: duckdb.DuckDBPyConnection, entity: Entity) -> None:
    """Add the clients of the chosen records of ``entity``."""
    _add(
        connection, CLIENTS, "bms",
        f"SELECT b.account_id FROM bms.{entity.name} b JOIN chosen_{entity.name} c"
        " ON c.side = 'bms' AND c.id = b.bms_id::VARCHAR"
        " WHERE b.account_id IN (SELECT bms_id FROM bms.clients)",
        whole=False,
    )  # fmt: skip
    _add(
        connection, CLIENTS, "passportal",
        f"SELECT p.client_id FROM passportal.{entity.name} p JOIN chosen_{entity.name} c"
        " ON c.side = 'passportal' AND c.id = p.passportal_id",
        whole=False,
    )  # fmt: skip
