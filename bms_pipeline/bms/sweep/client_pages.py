"""The pages of one client alone, with each record's account checked.

A service that ignores ``Filter.AccountId`` answers with everybody's records. Taken for one client's, they would be a
complete sweep with the wrong content. So the first record of another account stops the sweep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from bms_pipeline.bms.client import PAGE_SIZE, Page
from bms_pipeline.bms.sweep.page_reader import ReadsPages
from bms_pipeline.core.entities import ListCall, OfClient
from bms_pipeline.core.errors import FilterIgnored

ACCOUNT_FILTER = "AccountId"
"""The filter for one client [S]. Whether every host honours it is not known [G]; ``ClientPages`` finds out."""


class ReadsClients(ReadsPages, Protocol):
    """The part of the client for sweeps, also of one client alone."""

    def single(self, list_call: ListCall, bms_id: int) -> Page:
        """Read one record by its id, as a page of this record alone."""


class _Row(msgspec.Struct):
    id: int
    account: Any = msgspec.field(name="accountId", default=msgspec.UNSET)


_rows = msgspec.json.Decoder(list[_Row])


class ClientPages:
    """Reads the pages of a list that hold the records of the client ``client_id`` (a BMS account id)."""

    def __init__(self, client: ReadsClients, client_id: int) -> None:
        self._client = client
        self.client_id = client_id

    def page(
        self, list_call: ListCall, number: int, filters: Mapping[str, str] | None = None, size: int = PAGE_SIZE
    ) -> Page:
        """Read one page. Raises ``FilterIgnored`` when it has a record of another account."""
        if list_call.of_client is OfClient.BY_ID:
            # The one record is the whole list: what lies behind it needs no call.
            return self._client.single(list_call, self.client_id) if number == 1 else Page(number, b"[]", [], calls=0)
        narrowed = {**(filters or {}), ACCOUNT_FILTER: str(self.client_id)}
        page = self._client.page(list_call, number, narrowed, size)
        self._check(list_call, page)
        return page

    def _check(self, list_call: ListCall, page: Page) -> None:
        """Raise ``FilterIgnored`` for a record of another account, or of none.

        A service that does not send the account at all is named by the landing, with the field.
        """
        strangers = [row for row in _rows.decode(page.records) if not self._is_mine(row.account)]
        if strangers:
            raise FilterIgnored(
                f"BMS was asked for the {list_call.name} of client {self.client_id} and sent those of other clients:"
                f" record {strangers[0].id} is of account {strangers[0].account}, page {page.number}.",
                "Nothing of it was stored. This BMS does not honour Filter.AccountId for this list: leave out --client,"
                " which reads the whole lists.",
            )

    def _is_mine(self, account: object) -> bool:
        """Return whether a record's account is this client; a number may come as text."""
        return account is msgspec.UNSET or str(account).removesuffix(".0") == str(self.client_id)
