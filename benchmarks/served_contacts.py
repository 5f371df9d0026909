"""A sandbox that serves N made-up contacts as fast as it can: ``python -m benchmarks.served_contacts N``."""

from __future__ import annotations

import json
import os
import sys

from bms_sandbox.behaviour import Behaviour
from bms_sandbox.bms_server import serve
from bms_sandbox.tenant import Tenant, generate

STAMP = "2025-03-01T10:00:00"


def contact(number: int) -> bytes:
    """One contact with an e-mail and a phone, in the vendor's shape."""
    stamps = {"createdBy": 1, "createdOn": STAMP, "modifiedBy": 2, "modifiedOn": STAMP}
    email = {"emailAddress": f"first.last{number}@company{number % 500}.example", "emailTypeId": 1, "emailType": "Work"}
    phone = {"phone": f"+1 555 0100 {number}", "phoneTypeId": 1, "phoneType": "Work"}
    return json.dumps(
        {
            "id": number,
            **stamps,
            "accountId": number % 500,
            "accountName": f"Company {number % 500} Ltd",
            "locationId": number % 2000,
            "locationName": "Head Office",
            "firstName": f"First{number % 997}",
            "lastName": f"Last{number}",
            "jobTitle": "Engineer",
            "isPoc": False,
            "isActive": True,
            "effectiveDate": None,
            "isBillable": False,
            "emails": [{"id": number, **stamps, **email, "isDefault": True}],
            "phones": [{"id": number, **stamps, **phone, "isDefault": True}],
            "canRecieveInvoices": False,
        },
        separators=(",", ":"),
    ).encode()


def main(count: int) -> None:
    """Serve ``count`` contacts; one JSON line when ready."""
    small = generate("small", 1)
    tenant = Tenant(
        rows={**small.rows, "contacts": [contact(number) for number in range(1, count + 1)]},
        account_types=small.account_types,
        passportal=small.passportal,
        truth=small.truth,
    )
    serve(
        tenant,
        Behaviour(hourly_limit=None),
        ready=lambda url: print(json.dumps({"url": url}), flush=True),
        parent=os.getppid(),
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
