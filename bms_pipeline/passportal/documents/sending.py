"""Sending writes: each is marked as leaving before its call, and its template's id has the prefix that is accepted.

    sign in ──▶ mark as leaving ──▶ send with the proven prefix, or, one document alone, with each in turn

A refused document did nothing, so it may be sent again with another prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

from bms_pipeline.core.errors import AnswerUnreadable, LoginRefused, RequestRefused, ServiceUnreachable
from bms_pipeline.core.vocabulary import Operation
from bms_pipeline.passportal.documents import encoding
from bms_pipeline.passportal.documents.client import DocumentsClient
from bms_pipeline.passportal.documents.encoding import TEMPLATE_PREFIXES, Dialect, Document
from bms_pipeline.passportal.documents.flow import Later, Step
from bms_pipeline.passportal.target import Leaving, Write

LOST = (ServiceUnreachable, AnswerUnreadable)
"""The errors of a write whose answer never came: it may have taken effect."""
Item: TypeAlias = Callable[[str], dict[str, Any]]
"""A whole document as a change sends it, by the prefix of its template's id."""
_T = TypeVar("_T")


class WriteSender:
    """Sends writes by ``client``, and learns the prefix of a template's id for creates and for updates.

    ``prefix``: the one to try first, None where none is known.
    """

    def __init__(self, client: DocumentsClient, dialect: Dialect, prefix: str | None = None) -> None:
        self._client = client
        self._dialect = dialect
        self._prefixes: dict[Operation, str] = {}  # where one was taken
        self._in_order = TEMPLATE_PREFIXES if prefix is None else (prefix, *TEMPLATE_PREFIXES)

    def mark(self, leaving: Leaving, writes: Iterable[Write]) -> None:
        """Sign in, then mark ``writes`` as leaving: a failed sign-in leaves no write whose answer is unknown."""
        self._client.sign_in()
        leaving([write.bms_id for write in writes])

    def create(self, documents: Sequence[Document]) -> None:
        """Create these documents in one call."""

        def send(prefix: str) -> None:
            items = [encoding.new_document(document, self._dialect, prefix=prefix) for document in documents]
            self._client.create(encoding.batch(items, self._dialect))

        self._try_prefixes(Operation.CREATE, send, alone=len(documents) == 1)

    def change(self, document_id: str, item: Item, *, alone: bool) -> None:
        """Change one document; unless ``alone``, only with a prefix that was accepted before or the first one."""
        self._try_prefixes(Operation.UPDATE, lambda prefix: self._client.update(document_id, item(prefix)), alone=alone)

    def change_batch(self, items: Sequence[Item]) -> None:
        """Change several documents in one call."""

        def send(prefix: str) -> None:
            self._client.update(None, encoding.batch([item(prefix) for item in items], self._dialect))

        self._try_prefixes(Operation.UPDATE, send, alone=len(items) == 1)

    def _try_prefixes(self, operation: Operation, send: Callable[[str], None], *, alone: bool) -> None:
        """Send with the prefix proven for this operation; else try each one, with one document alone.

        A prefix accepted for a change may be refused for a new document. Raises the error of the first try.
        """
        proven = self._prefixes.get(operation)
        tries = [proven] if proven is not None else [*self._prefixes.values(), *self._in_order]
        first: RequestRefused | None = None
        for prefix in dict.fromkeys(tries if alone else tries[:1]):
            try:
                send(prefix)
            except LoginRefused:
                raise
            except RequestRefused as refusal:
                first = first or refusal
            else:
                self._prefixes[operation] = prefix
                return
        if first is not None:
            raise first


def steps_unless(
    stop: Callable[[], bool], send: Callable[[_T], Sequence[Later]], items: Iterable[_T]
) -> Iterator[Step]:
    """Return steps that send these items, and do nothing once ``stop`` returns true."""
    return (partial(lambda item: () if stop() else send(item), item) for item in items)


def portions_of(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Return ``items`` in portions of ``size``."""
    return (items[first : first + size] for first in range(0, len(items), size))
