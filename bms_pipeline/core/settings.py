"""Connections, paths and limits, from the environment or a ``.env`` file.

Settings decided once for a deployment belong here. Settings people revisit (toggles, scope) are in the
warehouse. Secrets are held as ``SecretStr``: their repr is stars, and only the code of the calls reads them.

A value comes from the environment, else ``.env``, else the default. Empty means not set. Each secret ``NAME`` may be in
a file of its own, named by ``NAME_FILE``. ``BMS_PIPELINE_SECRETS`` names a folder with one file for each setting.

A path may begin with ``~``. A relative path is made absolute once: from ``.env``, below the folder of that file; from
the environment and by default, below the current folder.
"""

from __future__ import annotations

import difflib
import functools
import logging
import os
import re
import shlex
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bms_pipeline.core import env_file as env_files
from bms_pipeline.core import secret_files
from bms_pipeline.core.env_file import NOT_IN_A_VALUE
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.files import atomic_write
from bms_pipeline.core.vocabulary import OwnVariable

_log = logging.getLogger(__name__)

SECRETS_OF = {
    "BMS_URL": ("BMS_PASSWORD", "BMS_MFA_SECRET"),
    "BMS_API_URL": ("BMS_PASSWORD", "BMS_MFA_SECRET"),
    "PASSPORTAL_URL": ("PASSPORTAL_SECRET",),
    "NOTICE_SMTP_HOST": ("NOTICE_SMTP_PASSWORD",),
    "NOTICE_SMTP_PORT": ("NOTICE_SMTP_PASSWORD",),
}
"""Address → the secrets sent there. (A webhook's address is its own secret.)"""

_PREFIXES = ("BMS_", "PASSPORTAL_", "NOTICE_")
_ADDRESS = re.compile(r"\w+://", re.ASCII)
_BUCKET = re.compile(r"s3://[\w.-]+(/.*)?", re.ASCII)
_FILE = "_FILE"
_FOLDER = "BMS_PIPELINE_SECRETS"
_OF_A_PLATFORM = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=.*"
    r"|\w+_PORT=(tcp|udp|sctp)://.*",
    re.ASCII | re.DOTALL,
)
"""Variables of Kubernetes and Docker about a service, which may be named ``bms`` or ``passportal``."""
LONGEST_NAME = 40
"""Characters of a tenant's name: Dagster takes 63 for its part of a tag's key."""
_NEAR = 0.8
"""Two names at least this similar, of 1, are likely one misspelt name."""


class _FromEnvironment(BaseSettings):
    """Settings by their name in the environment (``bms_url`` is ``BMS_URL``). An empty value counts as not set."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)


class _Tenant(_FromEnvironment):
    """What both kinds of settings have: the name of the tenant, and where its data lies without a shared disk."""

    bms_pipeline_name: str = Field(
        "", description="The tenant's name, where several share one Dagster: the first part of its names there"
    )

    bms_pipeline_lake: str = Field(
        "", description="With it: the folder, or s3://BUCKET/PREFIX, where the warehouse's data lies"
    )

    @field_validator("bms_pipeline_name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if name and not re.fullmatch(rf"[A-Za-z0-9_]{{1,{LONGEST_NAME}}}", name, re.ASCII):
            raise ValueError(f"a name has only letters from A to Z, digits and _, and at most {LONGEST_NAME} of them")
        return name


class ScheduleSettings(_Tenant):
    """The schedules of automatic syncs, and their owner. Only Dagster reads them, when it loads its definitions."""

    bms_pipeline_sync_cron: str = Field("0 * * * *", description="When the incremental sync starts (cron)")
    bms_pipeline_full_sync_cron: str = Field("30 2 * * *", description="When the sync with full sweeps starts (cron)")
    bms_pipeline_time_zone: str = Field("UTC", description="Time zone of both, as in Europe/Berlin")

    bms_pipeline_owner: str = Field(
        "team:service-desk", description="Who owns the Dagster assets: team:NAME or e-mail addresses, by commas"
    )

    @property
    def owners(self) -> list[str]:
        """The owners, one by one."""
        return [owner.strip() for owner in self.bms_pipeline_owner.split(",") if owner.strip()]

    @field_validator("bms_pipeline_owner")
    @classmethod
    def _is_an_owner(cls, text: str) -> str:
        owners = [owner.strip() for owner in text.split(",")]
        if not all(re.fullmatch(r"team:\S.*|[^@\s]+@[^@\s]+\.[A-Za-z0-9-]{2,}", owner) for owner in owners):
            raise ValueError("an owner is team:NAME or an e-mail address; several are separated by commas")
        return text

    @field_validator("bms_pipeline_time_zone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (LookupError, ValueError, OSError):
            known = "IANA names such as Europe/Berlin or America/New_York; Windows has names of its own"
            raise ValueError(f"there is no such time zone ({known})") from None
        return name


class Settings(_Tenant):
    """Every other setting."""

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
    passportal_templates_file: Path | None = Field(
        None, description="Passportal's import templates (the ZIP, or its manifest.csv): which elements they require"
    )
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

    bms_pipeline_home: Path = Field(
        Path(".bms_pipeline").absolute(), description="Database, landing, logs, Dagster's home"
    )

    bms_pipeline_state: SecretStr = Field(
        SecretStr(""),
        description="PostgreSQL for runs without a shared disk, as in postgresql://USER:PASSWORD@HOST/DATABASE",
    )
    aws_access_key_id: str = Field("", description="Access key of the bucket in BMS_PIPELINE_LAKE")
    aws_secret_access_key: SecretStr = Field(SecretStr(""), description="Secret key of the bucket")
    aws_session_token: SecretStr = Field(SecretStr(""), description="Session token of the bucket, for temporary keys")
    aws_region: str = Field("", description="Region of the bucket; else AWS_DEFAULT_REGION, else us-east-1")
    aws_default_region: str = Field("", description="Region of the bucket, where AWS_REGION is not set")
    aws_endpoint_url: str = Field("", description="Where the bucket's service answers, if that is not Amazon S3")
    aws_endpoint_url_s3: str = Field("", description="The same, and goes before AWS_ENDPOINT_URL")

    bms_pipeline_secrets: Path | None = Field(
        None, description="Folder with a file for each secret or other setting, as Docker and Kubernetes mount them"
    )
    bms_pipeline_guard: Path | None = Field(
        None, description="Where log-ins and vouchers are kept; tenants that share Dagster's pages name the same folder"
    )
    bms_pipeline_trusted_proxy: bool = Field(
        False,
        description="A proxy with its own log-in stands in front of Dagster's pages, and nothing else reaches them",
    )
    bms_pipeline_hosts: str = Field(
        "", description="With that proxy: the host names under which it is reached, separated by commas"
    )

    dagster_home: Path | None = Field(None, description="Dagster's home; default: dagster in the home folder")
    dagster_url: str = Field("", description="Where Dagster's pages are, for links in notices and the review console")
    console_url: str = Field("", description="Where the review console is, for links on Dagster's pages")

    bms_pipeline_wait_seconds: float = Field(
        60, ge=0, description="How long a database held by another run is waited for"
    )

    @property
    def dagster_folder(self) -> Path:
        """Dagster's home: the folder with its databases and its ``dagster.yaml``."""
        return self.dagster_home or self.bms_pipeline_home / "dagster"

    @property
    def guard_folder(self) -> Path:
        """The folder with the guard's key. Anyone able to read it can sign in and approve."""
        return self.bms_pipeline_guard or self.bms_pipeline_home / "guard"

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
        """The folder of files for a manual import into Passportal."""
        return self.bms_pipeline_home / "import_files"

    def import_headers(self, entity: str) -> Path | None:
        """Return the file whose first line has the columns for an import of ``entity``, or None if it is not set."""
        file: Path | None = getattr(self, f"passportal_import_headers_{entity}", None)
        return file

    @property
    def documents_file(self) -> Path:
        """The cache of Passportal's documents. Losing it only costs calls."""
        return self.bms_pipeline_home / "documents.duckdb"

    @property
    def labels_file(self) -> Path:
        """The labels of Passportal's templates, for processes which must not open the cache of documents."""
        return self.bms_pipeline_home / "passportal_labels.json"

    @property
    def unknown_seconds(self) -> float:
        """The seconds a write without an answer may still take effect in the configured target."""
        return self.passportal_unknown_seconds if self.passportal_target == "documents_api" else 0.0

    @property
    def last_write_file(self) -> Path:
        """The file with the time of the last write sent to Passportal."""
        return self.bms_pipeline_home / "last_write"

    @property
    def landing_folder(self) -> Path:
        """The folder where sweeps leave their pages."""
        return self.bms_pipeline_home / "landing"

    @property
    def published_file(self) -> Path:
        """The state after the last run, for processes which must not open the database."""
        return self.bms_pipeline_home / "published.json"

    @property
    def progress_file(self) -> Path:
        """The progress of the active run, or the result of the last one."""
        return self.bms_pipeline_home / "progress.json"

    @property
    def budget_file(self) -> Path:
        """The calls of the last hour, shared by every process on the machine."""
        return self.bms_pipeline_home / "budget.sqlite"


BMS_NEEDS = ("BMS_URL", "BMS_TENANT", "BMS_USERNAME", "BMS_PASSWORD")
"""The settings for a call to BMS. ``BMS_API_URL`` can take the place of the first."""
PASSPORTAL_NEEDS = ("PASSPORTAL_URL", "PASSPORTAL_KEY_ID", "PASSPORTAL_SECRET")
"""The settings for a call to Passportal."""


def needed_settings(settings: Settings) -> tuple[str, ...]:
    """Return the settings for a sync: of BMS, and of Passportal where it is a service."""
    return BMS_NEEDS if settings.passportal_target == "embedded" else BMS_NEEDS + PASSPORTAL_NEEDS


def missing_settings(settings: Settings, needed: Sequence[str]) -> list[str]:
    """Return those of ``needed`` without a value, in their order."""
    return [name for name in needed if not _is_given(settings, name)]


def check_given(settings: Settings, needed: Sequence[str]) -> None:
    """Raise one ``SettingsError`` about all of ``needed`` without a value, and where to set them."""
    missing = missing_settings(settings, needed)
    if missing:
        *first, last = missing
        listed = f"{', '.join(first)} and {last}" if first else last
        secrets = [name for name in missing if name in SECRETS]
        of_file = f" A secret may be in a file of its own: {secrets[0]}{_FILE}." if secrets else ""
        raise SettingsError(
            f"{listed} {'are' if first else 'is'} not set.",
            f"Set {'them' if first else 'it'} in the environment, in .env in this folder, or on the page Set-up of"
            f" `bms-pipeline console`.{of_file}",
            dict.fromkeys(missing, "is not set"),
        )


def _is_given(settings: Settings, name: str) -> bool:
    value = getattr(settings, name.lower())
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return bool(text.strip()) or (name == "BMS_URL" and bool(settings.bms_api_url.strip()))


BUCKET_NEEDS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""The settings for a lake in a bucket."""

SECRETS = frozenset(name.upper() for name, field in Settings.model_fields.items() if field.annotation is SecretStr)
"""The settings with a secret. Each may also be given as ``NAME_FILE``."""

_PATHS = frozenset(name for name, field in Settings.model_fields.items() if field.annotation in (Path, Path | None))
_FIELDS = frozenset(name.upper() for kind in (Settings, ScheduleSettings) for name in kind.model_fields)
_NAMES = _FIELDS | {f"{name}{_FILE}" for name in SECRETS}
_IN_FOLDER = _FIELDS - {_FOLDER}
_Kind = TypeVar("_Kind", Settings, ScheduleSettings)


@dataclass(frozen=True)
class _Given:
    """A value given by a person: its text, the base folder of a relative path, and its place for messages."""

    text: str
    folder: Path
    place: str


_USUAL = Path(".env")
"""The file of settings, unless this process was given another one: see ``use_env_file``."""


def use_env_file(env_file: Path, secrets: Path | None = None) -> None:
    """Let this process and its children read ``env_file`` in the place of ``.env``, and the folder ``secrets``."""
    os.environ[OwnVariable.ENV_FILE] = str(env_file.absolute())
    if secrets is not None:
        os.environ[_FOLDER] = str(secrets.absolute())


def check_alone_in(env_file: Path) -> None:
    """Raise ``SettingsError`` where the environment has another value for a setting in ``env_file``, or its home.

    The environment goes first, so it would count for every tenant whose code servers share it. ``env_file`` has to name
    the home, because the default one is shared, too.
    """
    lines = _lines(env_file)
    exported = _from_environment(lines)
    for line in lines:
        if line.text and line.name in exported and exported[line.name].text != line.text:
            raise SettingsError(
                f"{line.name} is set in the environment and, to another value, in {env_file}, line {line.number}.",
                "Take it out of the environment: there it would count for every tenant.",
            )
    if "BMS_PIPELINE_HOME" not in {line.name for line in lines if line.text}:
        raise SettingsError(
            f"{env_file} does not set BMS_PIPELINE_HOME. Two tenants must never share a home folder.",
            "Add BMS_PIPELINE_HOME to it, as `bms-pipeline init` does.",
        )


def read_settings(env_file: Path | None = _USUAL) -> Settings:
    """Read the settings of this process: environment first, then ``env_file`` if it exists.

    Warns once in the log about names likely to be misspelt. Raises ``SettingsError`` when a setting is malformed, when
    the home is no folder, or when others can read ``env_file``. The error names the setting, and its line in the file.
    """
    settings = _read(Settings, env_file)
    _check_home(settings.bms_pipeline_home)
    _check_lake(settings)
    return settings


def read_schedule_settings(env_file: Path | None = _USUAL) -> ScheduleSettings:
    """Read the schedules of automatic syncs from the same places as ``read_settings``, raising the same errors."""
    return _read(ScheduleSettings, env_file)


def _read(kind: type[_Kind], env_file: Path | None) -> _Kind:
    if env_file is _USUAL:
        env_file = Path(os.environ.get(OwnVariable.ENV_FILE) or _USUAL)
    lines = _lines(env_file) if env_file is not None and env_file.is_file() else []
    from_environment = _from_environment(lines)
    from_file = {
        line.name: _Given(line.text, env_file.absolute().parent, f"{env_file}, line {line.number}")
        for line in lines
        if line.text and env_file is not None
    }
    _warn_of_doubtful(from_environment, from_file)
    if _FOLDER in from_environment:
        from_file.pop(_FOLDER, None)
    given: dict[str, _Given] = {}
    for source in (from_file, from_environment):  # the later one wins
        given |= _with_secrets_from_files(source)
    values = {name: _value(name, given[name.upper()]) for name in kind.model_fields if name.upper() in given}
    try:
        return kind(**values)  # type: ignore[arg-type]  # pydantic reads the text
    except ValidationError as error:
        problems = [(str(problem["loc"][0]).upper(), problem["msg"]) for problem in error.errors()]
        worded = "; ".join(
            f"{name}{f' ({given[name].place})' if name in given else ''}: {text}" for name, text in problems
        )
        raise SettingsError(
            f"A setting does not fit. {worded}.", "Correct it in the environment or in .env.", dict(problems)
        ) from None


def _lines(env_file: Path) -> list[env_files.EnvLine]:
    if env_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(
            f"{env_file} holds secrets and can be read by other users of this machine.",
            f"chmod 600 {env_file}",
        )
    return env_files.read_env(env_file, _NAMES, SECRETS)


def _from_environment(lines: Sequence[env_files.EnvLine]) -> dict[str, _Given]:
    """Return the settings in the environment, without those ``dagster dev`` loaded from ``.env``.

    The file itself gives these: it has their places and folders, which the environment lacks.
    """
    loaded = env_files.as_dagster_loads(lines)
    return {
        name.upper(): _Given(text, Path.cwd(), "the environment")
        for name, text in os.environ.items()
        if text and loaded.get(name) != text
    }


def _with_secrets_from_files(given: Mapping[str, _Given]) -> dict[str, _Given]:
    """Return ``given`` with the content of each file named by a ``NAME_FILE`` or found in the folder."""
    read = dict(given)
    for name in SECRETS:
        if named := given.get(f"{name}{_FILE}"):
            file = _absolute(f"{name}{_FILE}", named)
            read[name] = _from_a_file(read, name, file, f"{name}{_FILE}", named.place)
    if named := given.get(_FOLDER):
        files = secret_files.files_in(_absolute(_FOLDER, named), _IN_FOLDER, f"{_FOLDER} ({named.place})")
        for name, file in files.items():
            read[name] = _from_a_file(read, name, file, f"{name} in {_FOLDER}", named.place)
    return read


def _from_a_file(read: Mapping[str, _Given], name: str, file: Path, source: str, place: str) -> _Given:
    """Return the setting in ``file``, which ``source`` names. Raises ``SettingsError`` where ``read`` has ``name``."""
    if name in read:
        raise SettingsError(
            f"{name} and {source} are both set ({read[name].place}; {place}: {file}).", "Take one of them out."
        )
    text = secret_files.read_secret(file, f"{source} ({place})")
    if name in SECRETS and secret_files.others_may_read(file):
        _warn(f"{source} ({place}): other users can read {file}. Run: chmod 600 {shlex.quote(str(file))}")
    return _Given(text, file.parent, f"{place}: {file}")


def _value(name: str, given: _Given) -> Path | str:
    """Return the text of a setting; a path made absolute."""
    if name == "bms_pipeline_lake":
        return given.text if _ADDRESS.match(given.text) else str(_absolute(name, given))
    return _absolute(name, given) if name in _PATHS else given.text


def _absolute(name: str, given: _Given) -> Path:
    try:
        path = Path(given.text).expanduser()
    except RuntimeError:
        raise SettingsError(
            f"{name} ({given.place}) begins with ~, and the home folder of that user is not known.",
            "Write the path in full, or ./~ for a folder of that name.",
        ) from None
    if "${" in given.text:
        _warn(f"{name} ({given.place}) holds ${{...}}. It is used as it is written; nothing is filled in.")
    return given.folder / path


def _check_home(home: Path) -> None:
    """Raise ``SettingsError`` where ``home`` is no folder and cannot become one."""
    there = next((path for path in (home, *home.parents) if os.path.lexists(path)), home)
    if os.path.lexists(there) and not there.is_dir():
        what = "is a file" if there.is_file() else "leads nowhere" if there.is_symlink() else "is no folder"
        named = f"{home}, which" if there == home else f"{home}, and {there}"
        raise SettingsError(f"BMS_PIPELINE_HOME names {named} {what}.", "Name a folder, or one that can be made.")
    if "?" in str(home):
        raise SettingsError(
            f"BMS_PIPELINE_HOME is {home}. Below a path with a ? DuckDB puts a database's log into the wrong folder.",
            "Choose a path without ?; every other character works.",
        )


def _check_lake(settings: Settings) -> None:
    """Raise ``SettingsError`` where only one of the two settings for runs without a shared disk is set."""
    needed = ("BMS_PIPELINE_STATE", "BMS_PIPELINE_LAKE")
    missing = missing_settings(settings, needed)
    if len(missing) == 1:
        (given,) = set(needed) - set(missing)
        raise SettingsError(
            f"{given} is set, and {missing[0]} is not.",
            "Set both, for a warehouse without a shared disk, or none of them.",
            {missing[0]: f"has to be set, because {given} is"},
        )
    if _ADDRESS.match(settings.bms_pipeline_lake):
        _check_bucket(settings)


def _check_bucket(settings: Settings) -> None:
    """Raise ``SettingsError`` where the lake is no bucket of S3, or the bucket cannot be written with what is set."""
    if not _BUCKET.fullmatch(settings.bms_pipeline_lake):
        raise SettingsError(
            f"BMS_PIPELINE_LAKE is {settings.bms_pipeline_lake}, and only folders and s3://BUCKET/PREFIX are possible.",
            "Name a folder or a bucket. Services other than Amazon's are reached by AWS_ENDPOINT_URL.",
            {"BMS_PIPELINE_LAKE": "is neither a folder nor s3://BUCKET/PREFIX"},
        )
    check_given(settings, BUCKET_NEEDS)


def _warn_of_doubtful(from_environment: Mapping[str, _Given], from_file: Mapping[str, _Given]) -> None:
    for name, given in from_file.items():
        if name.startswith(_PREFIXES) or (name not in _NAMES and _nearest(name)):
            _warn_of_unknown(name, given.place)
    for name, given in from_environment.items():
        if name in _NAMES and len(given.text) > 1 and given.text[0] == given.text[-1] in ("'", '"'):
            _warn(f"{name} (the environment) stands in quotes, which belong to it: `docker --env-file` keeps them.")
        is_of_a_platform = _OF_A_PLATFORM.fullmatch(f"{name}={given.text}")
        if name.startswith(_PREFIXES) and name not in from_file and not is_of_a_platform:
            _warn_of_unknown(name, given.place)


def is_known(name: str) -> bool:
    """Return whether a variable or line of this name is a setting or another name of ours."""
    return name.upper() in _NAMES or name.upper() in {*OwnVariable}


def _warn_of_unknown(name: str, place: str) -> None:
    if not is_known(name):
        near = _nearest(name)
        _warn(f"{name} ({place}) is no setting{f'; did you mean {near}?' if near else ' of bms-pipeline.'}")


@functools.cache
def _nearest(name: str) -> str | None:
    if name.endswith(_FILE) and name.removesuffix(_FILE) in _NAMES:
        return name.removesuffix(_FILE)
    return next(iter(difflib.get_close_matches(name, sorted(_NAMES), 1, _NEAR)), None)


@functools.cache
def _warn(text: str) -> None:
    """Log ``text``, once in a process."""
    _log.warning(text)


def store_settings(env_file: Path, changes: Mapping[str, str]) -> list[str]:
    """Write settings (NAME → text, empty to forget it) into ``env_file``, readable only by its owner afterwards.

    Every other line stays as it is. A secret belongs to its address: where an address changes, its secrets are
    forgotten unless they are entered with it. Returns the names of the forgotten secrets.

    Raises ``SettingsError`` naming the variable where the file would no longer be readable as settings. Raises it also
    where the secret of an address comes from the environment. Raises ``PipelineError`` where the file cannot be
    written. After an error nothing has changed.
    """
    broken = [name for name, text in changes.items() if NOT_IN_A_VALUE.search(text)]
    if broken:
        raise SettingsError(
            f"{broken[0]} holds a line break or a control character.",
            "Enter it again, by hand.",
            dict.fromkeys(broken, "holds a line break or a control character"),
        )
    forgotten = _secrets_without_address(read_settings(env_file), changes)
    changes = {**changes, **dict.fromkeys(forgotten, "")}
    text = env_files.replaced(env_file, changes, [f"{name}{_FILE}" for name in changes if name in SECRETS])
    with atomic_write(env_file) as file:
        file.write_bytes(text.encode())
        read_settings(file)
    return forgotten


def _secrets_without_address(before: Settings, changes: Mapping[str, str]) -> list[str]:
    """Return the stored secrets whose address changes without them."""
    forgotten: list[str] = []
    for address, secrets in SECRETS_OF.items():
        was = str(getattr(before, address.lower()) or "")
        if changes.get(address, was).strip().rstrip("/") == was.strip().rstrip("/"):
            continue
        for secret in secrets:
            if set_by_environment(secret, before):
                raise SettingsError(
                    f"{secret} comes from the environment or from a file of {_FOLDER}, and belongs to the {address} of"
                    " now. Nothing is stored.",
                    f"Change {address} where its secret is, too.",
                    {address: f"belongs to {secret}, which is set elsewhere"},
                )
            if getattr(before, secret.lower()).get_secret_value() and secret not in changes:
                forgotten.append(secret)
    return list(dict.fromkeys(forgotten))


def set_by_environment(name: str, settings: Settings) -> bool:
    """Return whether NAME comes from where no set-up page can change it, so ``.env`` has no effect on it.

    That is the environment, with NAME itself or ``NAME_FILE``, and the folder of ``BMS_PIPELINE_SECRETS``.
    """
    names = {name.upper(), f"{name.upper()}{_FILE}"} if name.upper() in SECRETS else {name.upper()}
    if any(text and variable.upper() in names for variable, text in os.environ.items()):
        return True
    folder = settings.bms_pipeline_secrets
    return folder is not None and bool(secret_files.files_in(folder, {name.upper()}, _FOLDER))
