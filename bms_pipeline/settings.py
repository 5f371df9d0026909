"""Connections, paths and limits, from the environment or a ``.env`` file.

What belongs here: what a deployment decides once. What people revisit (toggles, scope) lives in the warehouse.
Secrets are held as ``SecretStr``: their repr is stars, and only what sends them reads them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from bms_pipeline.errors import SettingsError
from bms_pipeline.files import made_whole


class Settings(BaseSettings):
    """Every setting, by its name in the environment (``bms_url`` is ``BMS_URL``)."""

    model_config = SettingsConfigDict(env_file_encoding="utf-8", extra="ignore", hide_input_in_errors=True)

    bms_url: str = Field("", description="Kaseya BMS portal URL (cloud) or FQDN (on-prem)")
    bms_api_url: str = Field("", description="Explicit API base; overrides the derivation from BMS_URL")
    bms_tenant: str = Field("", description="Company name as shown under My Settings in BMS")
    bms_username: str = ""
    bms_password: SecretStr = SecretStr("")
    bms_mfa_secret: SecretStr = Field(SecretStr(""), description="TOTP seed, for a user with MFA")
    bms_ca_file: Path | None = Field(None, description="One private CA certificate, for an on-prem portal")
    bms_private_host: str = Field("", description="Host name that may have a private address (on-prem)")
    bms_calls_per_hour: int = Field(1500, ge=1, description="The vendor's limit per endpoint, never exceeded")
    bms_details_calls_per_hour: int | None = Field(
        None, ge=1, description="Fewer for details, where a tenant's limit turns out to be shared with their list [G]"
    )
    bms_connections: int = Field(8, ge=1, le=32, description="Pages in flight at once")

    passportal_target: Literal["embedded", "documents_api"] = "embedded"
    passportal_url: str = Field("", description="Where Passportal's API answers: scheme and host")
    passportal_key_id: str = Field("", description="Access key ID (Settings > API Keys)")
    passportal_secret: SecretStr = Field(SecretStr(""), description="Secret access key, which is shown once")
    passportal_ca_file: Path | None = Field(None, description="One private CA certificate, behind a proxy of your own")
    passportal_private_host: str = Field("", description="Host name that may have a private address")
    passportal_connections: int = Field(4, ge=1, le=16, description="Calls in flight at once; no limit is documented")
    passportal_expected_clients: str = Field(
        "", description="Clients that the key must see, by name or id, separated by semicolons; for `authenticate`"
    )
    passportal_users_file: Path | None = Field(None, description="The users as exported from Passportal (CSV)")
    passportal_templates: str = Field(
        "", description="Which template new documents get, where it cannot be told: asset=79,contact=5000"
    )
    passportal_marker: Literal["notes", "id_fields", "custom_id"] = Field(
        "notes", description="Where a document bears the id of its BMS record; all three are recognised when reading"
    )
    passportal_body: Literal["array", "object"] = Field(
        "array", description="What a batch of documents is sent as [G]; the tenant's swagger page tells"
    )
    passportal_values: Literal["text", "element"] = Field("text", description="What a field's value is sent as [G]")
    passportal_unknown_seconds: float = Field(
        300, ge=0, description="How long a write whose answer was lost may still take effect before it is sent again"
    )
    passportal_update: Literal["one", "batch"] = Field("one", description="Which call changes documents [G]")

    passportal_import_headers_clients: Path | None = Field(
        None, description="Passportal's own file for importing clients, whose first line has the columns"
    )
    passportal_import_headers_users: Path | None = Field(None, description="The same for users")

    notice_webhook_url: SecretStr = Field(
        SecretStr(""), description="Where notices are posted; the address is a secret"
    )
    notice_webhook_ca_file: Path | None = Field(None, description="One private CA certificate, for a webhook on-prem")
    notice_webhook_private_host: str = Field("", description="Host of the webhook that may have a private address")
    notice_email_to: str = Field("", description="Whom notices are mailed to; several separated by commas")
    notice_email_from: str = ""
    notice_smtp_host: str = ""
    notice_smtp_port: int = Field(587, ge=1, le=65535)
    notice_smtp_username: str = Field("", description="Empty: no log-in")
    notice_smtp_password: SecretStr = SecretStr("")
    notice_smtp_ca_file: Path | None = Field(None, description="One private CA certificate, for a mail server on-prem")

    bms_pipeline_home: Path = Field(Path(".bms_pipeline"), description="Database, landing, logs, Dagster's home")

    dagster_url: str = Field("", description="Where Dagster's UI is, for the review console's links")

    bms_pipeline_wait_seconds: float = Field(
        60, ge=0, description="How long a database held by another run is waited for"
    )

    @property
    def warehouse_file(self) -> Path:
        """The DuckDB file."""
        return self.bms_pipeline_home / "warehouse.duckdb"

    @property
    def passportal_file(self) -> Path:
        """The embedded Passportal's own DuckDB file."""
        return self.bms_pipeline_home / "passportal.duckdb"

    @property
    def import_folder(self) -> Path:
        """Where files lie that a person imports into Passportal."""
        return self.bms_pipeline_home / "import_files"

    def import_headers(self, entity: str) -> Path | None:
        """The file whose first line has the columns of an import of ``entity``, where one is set."""
        file: Path | None = getattr(self, f"passportal_import_headers_{entity}", None)
        return file

    @property
    def documents_file(self) -> Path:
        """What is remembered of Passportal's documents; losing it costs calls."""
        return self.bms_pipeline_home / "documents.duckdb"

    @property
    def unknown_seconds(self) -> float:
        """How long a write whose answer was lost may still take effect in the target that is set."""
        return self.passportal_unknown_seconds if self.passportal_target == "documents_api" else 0.0

    @property
    def last_write_file(self) -> Path:
        """When a write last left for Passportal."""
        return self.bms_pipeline_home / "last_write"

    @property
    def landing_folder(self) -> Path:
        """Where sweeps leave their pages."""
        return self.bms_pipeline_home / "landing"

    @property
    def published_file(self) -> Path:
        """How things stood after the last run, for whoever must not open the database."""
        return self.bms_pipeline_home / "published.json"

    @property
    def progress_file(self) -> Path:
        """How far the run at work is, and how the last one ended."""
        return self.bms_pipeline_home / "progress.json"

    @property
    def budget_file(self) -> Path:
        """The calls of the last hour, shared by every process on the machine."""
        return self.bms_pipeline_home / "budget.sqlite"


def read_settings(env_file: Path | None = Path(".env")) -> Settings:
    """The settings of this process: environment first, then ``env_file`` if it exists.

    Raises ``SettingsError`` naming the variable when one is malformed, or when ``env_file`` can be read by others.
    """
    if env_file is not None and env_file.is_file():
        if env_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise SettingsError(
                f"{env_file} holds secrets and can be read by other users of this machine.",
                f"chmod 600 {env_file}",
            )
    else:
        env_file = None
    try:
        return Settings(_env_file=env_file)  # type: ignore[call-arg]  # a parameter pydantic adds at run time
    except ValidationError as error:
        problems = "; ".join(f"{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
        raise SettingsError(
            f"A setting does not fit. {problems}.", "Correct it in the environment or in .env."
        ) from None


def store_settings(env_file: Path, changes: Mapping[str, str]) -> None:
    """Write settings (NAME → text, empty to forget it) into ``env_file``, which only its owner may read then.

    Every other line stays as it is. Raises ``SettingsError`` naming the variable where the file would no longer be
    readable as settings, and ``PipelineError`` where it cannot be written; then nothing has changed.
    """
    broken = [name for name, text in changes.items() if re.search(r"[\x00-\x1f\x7f\u2028\u2029]", text)]
    if broken:
        raise SettingsError(f"{broken[0]} holds a line break or a control character.", "Enter it again, by hand.")
    lines = env_file.read_text(encoding="utf-8").splitlines() if env_file.is_file() else []
    kept = [line for line in lines if _name_in(line) not in changes]
    written = [f"{name}={_quoted(text)}" for name, text in changes.items() if text]
    with made_whole(env_file) as file:
        file.write_text("".join(f"{line}\n" for line in (*kept, *written)), encoding="utf-8")
        read_settings(file)


def set_by_environment(name: str) -> bool:
    """Whether the environment says what NAME is, so that a ``.env`` changes nothing about it."""
    return any(each.upper() == name.upper() for each in os.environ)


def _name_in(line: str) -> str | None:
    """Which setting a line of a ``.env`` sets."""
    found = re.match(r"\s*(?:export\s+)?['\"]?([A-Za-z_][A-Za-z0-9_]*)['\"]?\s*(?:=|$)", line)
    return found.group(1).upper() if found else None


def _quoted(text: str) -> str:
    """``text`` as a ``.env`` holds it, so that nothing in it is special."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
