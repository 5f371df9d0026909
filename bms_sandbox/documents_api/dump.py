"""All that the stand-in holds, in the shape of the embedded store's table, so that tests ask both the same.

The BMS marker is recognised here in the forms that a document can bear it in, apart from the pipeline's code.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from bms_sandbox.documents_api.store import Record

CUSTOM_ID = re.compile(r"kaseya-bms:(\d+)")
NOTES = re.compile(r"(?:(.*)\n)?Kaseya BMS ID: (\d+)\s*", re.DOTALL)
RICH_NOTES = re.compile(r"(.*)<p>Kaseya BMS ID: (\d+)</p>", re.DOTALL)


def dumped(record: Record) -> dict[str, Any]:
    """The record as a row: ``type, client_id, title, id, details, marker, last_modified``.

    ``details``: label → text of what is not blank, without the marker, and without a "Name" that says what the title
    says. ``marker``: the BMS id; several, joined by commas, where the forms contradict each other.
    """
    details = {label: value if isinstance(value, str) else value.text for label, value in record.values.items()}
    if details.get("Name") == record.title:
        del details["Name"]
    return {
        "type": record.type,
        "client_id": None if record.client_id is None else str(record.client_id),
        "title": record.title,
        "id": str(record.id),
        "marker": ",".join(sorted(_markers(record, details))) or None,
        "details": details,
        "last_modified": datetime.fromtimestamp(record.modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _markers(record: Record, details: dict[str, str]) -> set[str]:
    """The BMS ids that the record bears; taken out of ``details``."""
    found = set()
    if record.custom_id and (match := CUSTOM_ID.fullmatch(record.custom_id)):
        found.add(match[1])
    if match := CUSTOM_ID.fullmatch(details.get("ID", "")):
        details.pop("Integration Type", None)
        del details["ID"]
        found.add(match[1])
    for label, text in list(details.items()):
        if match := RICH_NOTES.fullmatch(text) or NOTES.fullmatch(text):
            found.add(match[2])
            rest = (match[1] or "").rstrip()
            del details[label]
            details |= {label: rest} if rest else {}
    return found
