"""The clients that a person names on the command line, by their BMS account id or by their name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from bms_pipeline.bms.client import PAGE_SIZE, BmsClient
from bms_pipeline.core.entities import ACCOUNTS, CLIENTS
from bms_pipeline.core.errors import ClientNotFound
from bms_pipeline.core.settings import Settings
from bms_pipeline.sync import services
from bms_pipeline.warehouse import landing, names
from bms_pipeline.warehouse.connection import Warehouse, open_warehouse

NAME_FILTER = "AccountName"
"""The filter by name [S]. What it compares is not documented [G]: every known client takes it for "contains"."""
MOST_PAGES = 5
"""A name that more pages of accounts contain needs the id."""
_WITH_ID = "Give the client's BMS account id: the number in the address of the account's page."


class _Account(msgspec.Struct):
    id: int
    name: str | None = msgspec.field(name="accountName", default=None)


_accounts = msgspec.json.Decoder(list[_Account])


def find_clients(settings: Settings, given: Sequence[str]) -> tuple[int, ...]:
    """Return the BMS account ids of the clients ``given`` by id or by name.

    A name is looked up in the stored clients once all accounts were read, and in BMS before that: one call or a few.
    Raises ``ClientNotFound`` for a name that no client has, or several.
    """
    warehouse = open_warehouse(settings)
    found: dict[str, int | None] = {text: _stored(warehouse, text) for text in given}
    unknown = [text for text, client in found.items() if client is None]
    if unknown:
        with services.open_bms(settings) as bms:
            found |= {text: _the_only(text, _named(bms, text)) for text in unknown}
    return tuple(client for client in found.values() if client is not None)


def _stored(warehouse: Warehouse, text: str) -> int | None:
    """Return the id in ``text``, or that of the stored client with this name; None where BMS has to be asked."""
    if text.strip().isdecimal():
        return int(text)
    if not warehouse.exists():
        return None
    with warehouse.open() as connection:
        if not landing.was_read(connection, CLIENTS) or landing.only_clients_read(connection, CLIENTS):
            return None
        rows = connection.execute(
            "SELECT bms_id FROM bms.clients WHERE missing_since IS NULL AND name_key = ?", [names.fold_name(text)]
        ).fetchall()
    return _the_only(text, [row[0] for row in rows]) if rows else None


def _named(bms: BmsClient, text: str) -> list[int]:
    """Return the ids of the accounts of this name in BMS."""
    wanted = names.fold_name(text)
    return [account.id for account in _containing(bms, text) if names.fold_name(account.name or "") == wanted]


def _containing(bms: BmsClient, text: str) -> Iterator[_Account]:
    """Yield the accounts whose names contain ``text``, as BMS finds them."""
    for number in range(1, MOST_PAGES + 1):
        page = bms.page(ACCOUNTS, number, {NAME_FILTER: text.strip()})
        yield from _accounts.decode(page.records)
        if page.rows < PAGE_SIZE:
            return
    raise ClientNotFound(f"More than {MOST_PAGES * PAGE_SIZE:,} accounts of BMS answer to the name “{text}”.", _WITH_ID)


def _the_only(text: str, clients: Sequence[int]) -> int:
    """Return the only one of ``clients``. Raises ``ClientNotFound`` where there is none, or several."""
    if len(clients) == 1:
        return clients[0]
    if clients:
        listed = ", ".join(map(str, clients[:10]))
        raise ClientNotFound(f"{len(clients):,} clients are called “{text}”: accounts {listed}.", _WITH_ID)
    raise ClientNotFound(f"BMS shows no client called “{text}”.", f"Check how BMS spells it. {_WITH_ID}")
