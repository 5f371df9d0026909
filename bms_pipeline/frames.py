"""What a tenant's home folder holds, as tables for notebooks and for your own pipelines. Nothing here can write.

Each function returns a pandas DataFrame. ``relations`` yields the same tables as DuckDB relations, for SQL and Arrow::

    from bms_pipeline import frames

    frames.operations().groupby(["entity", "operation"]).size()

    with frames.relations() as tables:
        tables.table("matches").to_arrow_table()
        tables.sql("SELECT client, count(*) FROM waiting GROUP BY ALL").df()

``home`` is the home folder; without it, that of the environment or ``.env``. Times are UTC. A database in use is waited
for as long as ``BMS_PIPELINE_WAIT_SECONDS`` says. Errors are those of ``bms_pipeline.core.errors``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from bms_pipeline.core.entities import BY_NAME, ENTITIES, Entity, EntityName, chosen
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.settings import read_settings
from bms_pipeline.plan import standings
from bms_pipeline.plan.operations import read_plan
from bms_pipeline.warehouse import landing, schema, sql
from bms_pipeline.warehouse.connection import open_warehouse
from bms_pipeline.warehouse.stored_mapping import mapped

if TYPE_CHECKING:
    import pandas as pd

FRAMES = ("plan", "operations", "matches", "exclusions", "outcomes", "waiting", *BY_NAME)
"""The tables of ``relations``: one for each function here, and one for the records of each entity."""
_DTYPES = {"BIGINT": "Int64", "BOOLEAN": "boolean", "VARCHAR": "string"}
"""The pandas types of columns that may be empty: the same for every content; an id stays a whole number."""

Home = Path | str | None


def plan(home: Home = None) -> pd.DataFrame:
    """Return the current plan in one row. Raises ``PlanMissing`` where no plan was ever made.

    - ``plan_id``: its number.
    - ``hash``: the hash for a person's finish.
    - ``made_at``: when it was made.
    - ``operations``: the number of its creates, adopts and updates.
    - ``creates``: the records to create.
    - ``adopts``: the records of Passportal to link.
    - ``updates``: the records to update.
    - ``pending``: the operations no load has carried out yet.
    - ``waits_for_person``: the operations only a person's finish may load.
    - ``approved_at``: when a person approved it.
    - ``approved_by``: the person.
    - ``loaded_at``: when its last operation got a final outcome.
    - ``undoes``: the number of the plan whose load it takes back.
    """
    return _frame("plan", home, read_plan)


def operations(home: Home = None) -> pd.DataFrame:
    """Return what the current plan does with each record. Raises ``PlanMissing`` where no plan was ever made.

    - ``entity``: the entity of the record.
    - ``bms_id``: its id in BMS.
    - ``name``: its name.
    - ``client_bms_id``: the id of its client in BMS.
    - ``client``: the client's name.
    - ``passportal_id``: the id of its record in Passportal, where there is one.
    - ``disposition``: what reconciling decided.
    - ``operation``: create, adopt, update or skip.
    - ``reason``: why, as a code of ``docs/reference/reasons.md``.
    - ``waits_for_person``: whether only a person's finish may load it.
    - ``counts_as``: the outcome under which the record counts in ``status``.
    - ``detail``: why Passportal refused it.
    - ``changes``: the fields a load writes, each with ``field``, ``before`` and ``after``.
    - ``kept``: the values to keep in Passportal, each with ``field``, ``bms`` and ``passportal``.
    - ``no_place``: the values for which its template has no field, each with ``field`` and ``bms``.
    - ``unlinked``: the links that are not written, each with ``field``, ``bms`` (an id) and ``reason``.
    """
    return _frame("operations", home, read_plan)


def matches(home: Home = None) -> pd.DataFrame:
    """Return the lasting links between records of BMS and of Passportal.

    - ``entity``: the entity of both records.
    - ``bms_id``: the id in BMS.
    - ``name``: the name in BMS.
    - ``client_bms_id``: the id of its client in BMS.
    - ``client``: the client's name.
    - ``passportal_id``: the id in Passportal.
    - ``passportal_name``: the name in Passportal.
    - ``reason``: the rule or decision behind the match, as a code.
    - ``matched_at``: since when.
    - ``missing_since``: since when a complete sweep no longer shows the record in BMS.
    """
    return _frame("matches", home)


def exclusions(home: Home = None) -> pd.DataFrame:
    """Return the records that people excluded from the sync.

    - ``entity``: the entity of the record.
    - ``bms_id``: its id in BMS.
    - ``name``: its name.
    - ``client_bms_id``: the id of its client in BMS.
    - ``client``: the client's name.
    - ``reason``: the person's reason.
    - ``decided_by``: the person.
    - ``decided_at``: when.
    """
    return _frame("exclusions", home)


def outcomes(home: Home = None) -> pd.DataFrame:
    """Return what became of each operation of any load, in the order of the loads.

    It is as of the last commit. After a kill, up to 1,000 operations are ``unknown`` until the next run settles them.

    - ``plan_id``: the number of the plan.
    - ``entity``: the entity of the record.
    - ``bms_id``: its id in BMS.
    - ``name``: its name now.
    - ``client_bms_id``: the id of its client in BMS.
    - ``operation``: create, adopt or update.
    - ``reason``: why, as a code.
    - ``outcome``: done, refused, unknown, not_sent or handed_over.
    - ``detail``: why Passportal refused it, or why it was not sent.
    - ``passportal_id``: the id in Passportal given by the operation; empty for a create.
    - ``changes``: the fields written, each with ``field``, ``before`` and ``after``.
    - ``intent_at``: when the intent was stored.
    - ``outcome_at``: when its outcome was stored.
    """
    return _frame("outcomes", home)


def waiting(home: Home = None) -> pd.DataFrame:
    """Return the records that wait for a person. Raises ``PlanMissing`` where no plan was ever made.

    - ``entity``: the entity of the record.
    - ``bms_id``: its id in BMS.
    - ``name``: its name.
    - ``client_bms_id``: the id of its client in BMS.
    - ``client``: the client's name.
    - ``standing``: unmatched or ambiguous.
    - ``reason``: why, as a code.
    - ``first_seen``: since when BMS lists it in this client.
    """
    return _frame("waiting", home, read_plan)


def records(entity: EntityName, home: Home = None) -> pd.DataFrame:
    """Return the records of ``entity`` ever listed by BMS, with all fields of the entity.

    Raises ``StageMissing`` where BMS was never asked for them, and ``SettingsError`` for an unknown entity.

    - ``bms_id``: the id in BMS.
    - ``client_bms_id``: the id of its client in BMS; of a client, its own.
    - ``client``: the client's name.
    - ``is_active``: whether BMS calls it active.
    - ``modified_on``: the time of its last change, as BMS sent it.
    - ``first_seen``: since when BMS lists it in this client.
    - ``changed_at``: when a landing last found a change.
    - ``missing_since``: since when a complete sweep no longer shows it.
    - ``returned_at``: when BMS last listed it again.
    - ``passportal_id``: the matched record of Passportal.
    - ``standing``: its state now, as ``bms-pipeline status`` counts it.
    - ``reason``: why, as a code.
    """
    (found,) = chosen([entity])
    return _frame(found.name, home, lambda connection: landing.check_read(connection, found))


def frame(name: str, home: Home = None) -> pd.DataFrame:
    """Return the table ``name``, as the function of that name does, or ``records`` for an entity."""
    if name in BY_NAME:
        return records(name, home)
    if name not in _BY_NAME:
        raise SettingsError(f"There is no table {name!r}.", f"Choose from {', '.join(FRAMES)}.")
    return _BY_NAME[name](home)


@contextlib.contextmanager
def relations(home: Home = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a read-only connection with a view for each of ``FRAMES``. Leave soon: while it is open, runs wait.

    The records of an entity are in the view of its name: ``clients``, ``users``, ``assets``, ``contacts``,
    ``locations``. The warehouse's own tables are there too (``bms.clients``, ``sync.journal``); those may change.
    """
    with _views(home, FRAMES) as connection:
        yield connection


@contextlib.contextmanager
def _views(home: Home, names: Sequence[str]) -> Iterator[duckdb.DuckDBPyConnection]:
    settings = read_settings()
    if home is not None:
        settings = settings.model_copy(update={"bms_pipeline_home": Path(home).expanduser().absolute()})
    with open_warehouse(settings).read_only() as connection:
        for name in names:
            connection.execute(f"CREATE TEMP VIEW {name} AS {_query(connection, name)}")
        yield connection


_BY_NAME = {function.__name__: function for function in (plan, operations, matches, exclusions, outcomes, waiting)}


def _frame(
    name: str, home: Home, check: Callable[[duckdb.DuckDBPyConnection], object] = lambda _: None
) -> pd.DataFrame:
    """Return a view of ``relations`` as a DataFrame. ``check`` raises where the warehouse cannot answer yet."""
    with _views(home, [name]) as connection:
        check(connection)
        # No relation: DuckDB 2 refuses one after a result of which ``check`` fetched only the first row.
        kinds = connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {name})").fetchall()
        found = connection.execute(f"FROM {name}").df()
        return found.astype({column: _DTYPES[kind] for column, kind in kinds if kind in _DTYPES})


def _query(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """Return the SQL of one of ``FRAMES``."""
    parts = {
        "in_bms": " UNION ALL ".join(
            f"SELECT '{entity.name}' AS entity, bms_id, account_id, name, first_seen, missing_since"
            f" FROM bms.{entity.name}"
            for entity in ENTITIES
        ),
        "in_passportal": " UNION ALL ".join(
            f"SELECT '{entity.name}' AS entity, passportal_id, name FROM passportal.{entity.name}"
            for entity in ENTITIES
        ),
        "standings": standings.all_records(connection),
        "waits_for_person": ", ".join(sql.quoted(standing) for standing in standings.WAITS_FOR_PERSON),
    }
    entity = BY_NAME.get(name)
    if entity is None:
        return sql.read(f"reports/frame_{name}").format(**parts)
    return sql.read("reports/frame_records").format(
        entity=entity.name, fields=_fields(mapped(connection, entity)), **parts
    )


def _fields(entity: Entity) -> str:
    """Return the columns with the values of ``entity``, and those about its details where it has any."""
    values = dict.fromkeys([*entity.columns, *schema.detail_columns(entity)])
    return ", ".join(f"b.{column}" for column in values)
