"""The address of a PostgreSQL, taken apart once, so that no error about it can show its password."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg import conninfo

from bms_pipeline.core.errors import SettingsError

_SECRETS = ("password", "sslpassword")
_PORTS = re.compile(r"\d*(,\d*)*", re.ASCII)


@dataclass(frozen=True)
class Address:
    """Where a PostgreSQL is, and how to sign in. Its text has neither the user nor a secret."""

    parameters: Mapping[str, str] = field(repr=False)

    def __str__(self) -> str:
        host, port = self.parameters.get("host", "localhost"), self.parameters.get("port", "5432")
        return f"PostgreSQL at {host}:{port}, database {self.parameters.get('dbname', 'of the user')}"

    def without_secrets(self, text: str) -> str:
        """Return ``text`` with stars for each secret of the address."""
        for name in _SECRETS:
            if secret := self.parameters.get(name):
                text = text.replace(secret, "***")
        return text


def read_address(text: str) -> Address:
    """Return the address in ``BMS_PIPELINE_STATE``. Raises ``SettingsError``, which repeats nothing of it.

    A password with ``@`` or ``/`` that is not encoded would end up in the host or in the database's name, and from
    there in every message. So both are refused.
    """
    try:
        found = {name: str(value) for name, value in conninfo.conninfo_to_dict(text).items()}
    except psycopg.Error:
        found = {}
    is_whole = (
        text.startswith(("postgresql://", "postgres://"))
        and "@" not in found.get("host", "")
        and "@" not in found.get("dbname", "")
        and _PORTS.fullmatch(found.get("port", ""))
    )
    if not found or not is_whole:
        raise SettingsError(
            "BMS_PIPELINE_STATE is no address of a PostgreSQL.",
            "Write postgresql://USER:PASSWORD@HOST:PORT/DATABASE. In a password write %40 for @, %2F for /, %3A for :"
            " and %25 for %.",
            {"BMS_PIPELINE_STATE": "is no address of a PostgreSQL"},
        )
    return Address(found)
