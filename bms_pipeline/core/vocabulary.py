"""The words shared by code, tables, commands and pages, as types."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of one operation on its way to Passportal.

    ``UNKNOWN`` is an intent without an outcome: the journal holds NULL. ``NOT_SENT``: it never took effect, and may be
    sent again. ``HANDED_OVER``: it went into a file for a person to import.
    """

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"
    HANDED_OVER = "handed_over"


class NewRecords(StrEnum):
    """The reasons why Passportal takes no new records of an entity.

    ``TEMPLATE_UNKNOWN``: their template cannot be determined. ``NO_PLACE_FOR_MARKER``: their template has no field
    for the BMS id.
    """

    TEMPLATE_UNKNOWN = "template_unknown"
    NO_PLACE_FOR_MARKER = "no_place_for_marker"


TAKEN_BACK = "taken_back"
"""The reason of an operation that takes back a write of an earlier load."""
