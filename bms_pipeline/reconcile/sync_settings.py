"""The settings people revisit: toggles per entity, filters, ownership of fields, breakers.

They live in the warehouse (``sync.settings``) and not in the environment, because they change while it runs. A change
is checked as a whole before it is stored, and the old values are kept in ``sync.settings_history``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

import duckdb

from bms_pipeline.core.entities import BY_NAME, ENTITIES, EntityName
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.mapping import DEFAULT, is_field, word_of
from bms_pipeline.core.mapping import Mapping as FieldMapping
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.core.vocabulary import FieldOwner
from bms_pipeline.warehouse.inputs import bump_version

# The vendor's page has auto-create toggles for clients, users and configurations, off until somebody wants them;
# contacts and locations have none there and are created while their sync is on.
_AUTO_CREATE = {entity.name: entity.name in ("contacts", "locations") for entity in ENTITIES}

_MAPPINGS = ("mapping", "loaded_mapping")
IDENTICAL_NAMES = ("folded", "exact")


@dataclass(frozen=True)
class SyncSettings:
    """The synced entities and filters, and the records a load may create without a person.

    ``auto_create`` acts on records first seen after the initial sync. ``account_types`` (names), ``asset_categories``
    and ``clients`` (BMS account ids) are None for all; for account types, all means the types BMS calls clients.
    ``scope_ids`` has the ids of chosen names, see ``scope_ids``.
    ``identical_names``: ``folded`` as in matching, or ``exact`` to the byte. ``ownership`` is ``entity.field`` → its
    ``FieldOwner``; a field not named there has ``LAST_EDIT``.

    The breakers after the initial sync are shares of an entity's matched records. A load stops above ``update_share``
    (updated), ``gone_share`` (gone from BMS) or ``vanished_share`` (one reading of Passportal no longer lists them).
    Above ``client_update_share`` of its own the updates of a client are held back, above ``client_vanished_share`` its
    new records.

    ``details_max_age_days``: details older than this are read again. ``can_write`` and ``can_list`` are no person's
    choice: the entities writable and listable in the Passportal of this home; ``can_link``: whether it keeps links.
    ``rebuilt_at``: the time a lost database was started over. ``mapping``: where the fields lie in Passportal;
    ``loaded_mapping``: the one by which a whole plan was loaded last.
    """

    sync: dict[EntityName, bool] = field(default_factory=lambda: dict.fromkeys(_AUTO_CREATE, True))
    auto_create: dict[EntityName, bool] = field(default_factory=lambda: dict(_AUTO_CREATE))
    account_types: list[str] | None = None
    active_only: bool = True
    asset_categories: list[str] | None = None
    clients: list[int] | None = None
    scope_ids: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    identical_names: str = "folded"
    ownership: dict[str, str] = field(default_factory=dict)
    update_share: float = 0.20
    gone_share: float = 0.20
    client_update_share: float = 0.50
    vanished_share: float = 0.20
    client_vanished_share: float = 0.50
    details_max_age_days: int = 30
    can_write: list[EntityName] = field(default_factory=lambda: [entity.name for entity in ENTITIES])
    can_list: list[EntityName] = field(default_factory=lambda: [entity.name for entity in ENTITIES])
    can_link: bool = False
    initial_sync_finished_at: str | None = None
    rebuilt_at: str | None = None
    mapping: FieldMapping = DEFAULT
    loaded_mapping: FieldMapping = DEFAULT

    def ids_of(self, setting: str) -> list[int]:
        """Return the ids of the names chosen in ``account_types`` or ``asset_categories``."""
        return sorted({id_ for ids in self.scope_ids.get(setting, {}).values() for id_ in ids})

    @property
    def is_rebuilding(self) -> bool:
        """Whether a lost database was started over, and no person has finished a plan by its hash since.

        The exclusions are unknown then, so nobody may approve in advance.
        """
        return self.rebuilt_at is not None and not self.initial_sync_finished

    @property
    def initial_sync_finished(self) -> bool:
        """Whether the first finish has happened, so that the auto-create rules apply."""
        return self.initial_sync_finished_at is not None

    @property
    def mapping_waits(self) -> bool:
        """Whether the mapping changed since the last load of a whole plan, so that a person approves the next one."""
        return self.initial_sync_finished and self.mapping != self.loaded_mapping

    def owner(self, entity: EntityName, column: str) -> FieldOwner:
        """Return the owner of the field. A constant only fills what is empty, unless a person decided otherwise."""
        rule = self.mapping.rule(BY_NAME[entity], column)
        is_constant = rule.constant is not None and rule.inactive is None
        usual = FieldOwner.FILL_IF_EMPTY if is_constant else FieldOwner.LAST_EDIT
        return FieldOwner(self.ownership.get(f"{entity}.{word_of(BY_NAME[entity], column)}", usual))


def read_sync_settings(connection: duckdb.DuckDBPyConnection) -> SyncSettings:
    """Return the stored settings over the defaults."""
    stored: dict[str, Any] = {
        name: json.loads(value)
        for name, value in connection.execute("SELECT name, value FROM sync.settings").fetchall()
    }
    known = {field.name: stored[field.name] for field in fields(SyncSettings) if field.name in stored}
    for name in _MAPPINGS:
        if name in known:
            known[name] = parse_mapping(known[name])
    return replace(SyncSettings(), **known)


def store_sync_setting(connection: duckdb.DuckDBPyConnection, name: str, value: object, now: datetime) -> None:
    """Store one setting; a plan made before becomes stale."""
    connection.execute("DELETE FROM sync.settings WHERE name = ?", [name])
    connection.execute("INSERT INTO sync.settings VALUES (?, ?, ?)", [name, json.dumps(value), now])
    bump_version(connection, "settings", now)


@dataclass(frozen=True)
class SettingChange:
    """One setting before and after, under the name people use. ``name``: ``sync.users``, ``active_only``, ..."""

    name: str
    before: object
    after: object


def parse_changes(settings: SyncSettings, wanted: Mapping[str, str]) -> tuple[SyncSettings, list[SettingChange]]:
    """Return the settings after ``wanted`` (name → text), and the changes.

    Names: ``sync.<entity>``, ``auto_create.<entity>`` (on, off), ``owner.<entity>.<field>``, ``account_types``,
    ``asset_categories``, ``clients`` (comma-separated, or ``all``), ``active_only`` (on, off), ``identical_names``,
    ``update_share``, ``gone_share``, ``client_update_share``, ``vanished_share``, ``client_vanished_share`` (0 to 1),
    ``details_max_age_days``. Raises ``SettingsError`` for an unknown name or value, and where auto-create would be on
    for an entity whose sync is off.
    """
    after, changes = settings, []
    for name, text in wanted.items():
        before = _value(after, name)
        after = _with(after, name, _parsed(name, text.strip()))
        if before != _value(after, name):
            changes.append(SettingChange(name, before, _value(after, name)))
    for entity in BY_NAME:
        switched_on = any(change.name == f"auto_create.{entity}" and change.after for change in changes)
        if switched_on and not after.sync[entity]:
            raise SettingsError(
                f"auto_create.{entity} can only be on while sync.{entity} is on.",
                f"Switch on both: sync.{entity}=on auto_create.{entity}=on.",
            )
    return after, changes


def store_changes(
    connection: duckdb.DuckDBPyConnection,
    settings: SyncSettings,
    changes: list[SettingChange],
    by: str,
    why: str,
    now: datetime,
) -> None:
    """Store the ``changes`` of a person, already made in ``settings``, and keep the old values in the history."""
    for name in dict.fromkeys(_field_of(change.name) for change in changes):
        store_sync_setting(connection, name, getattr(settings, name), now)
    for change in changes:
        connection.execute(
            "INSERT INTO sync.settings_history VALUES (?, ?, ?, ?, ?, ?)",
            [now, by, change.name, json.dumps(change.before), json.dumps(change.after), why],
        )


def shown_setting(settings: SyncSettings) -> dict[str, Any]:
    """Return every setting under the name people change it by; of the fields' owners only those set."""
    return {
        **{f"sync.{entity}": on for entity, on in settings.sync.items()},
        # Off while its sync is off; the earlier choice comes back with it.
        **{f"auto_create.{entity}": on and settings.sync[entity] for entity, on in settings.auto_create.items()},
        **{name: getattr(settings, name) for name in _PLAIN},
        **{f"owner.{name}": owner for name, owner in sorted(settings.ownership.items())},
    }


def _on_or_off(name: str, text: str) -> bool:
    if text.lower() not in ("on", "off", "true", "false"):
        raise SettingsError(f"{name} is on or off, not {text!r}.")
    return text.lower() in ("on", "true")


def _one_of(*words: str) -> Callable[[str, str], str]:
    def parsed(name: str, text: str) -> str:
        if text not in words:
            raise SettingsError(f"{name} is one of {', '.join(words)}, not {text!r}.")
        return text

    return parsed


def _listed(_: str, text: str) -> list[str] | None:
    return None if text.lower() == "all" else sorted({word.strip() for word in text.split(",") if word.strip()})


def _account_ids(name: str, text: str) -> list[int] | None:
    ids = _listed(name, text)
    wrong = [word for word in ids or () if not (word.isascii() and word.isdigit())]
    if wrong:
        raise SettingsError(f"{name}: {wrong[0]!r} is no BMS account id.", "Give ids, separated by commas, or all.")
    return None if ids is None else sorted(int(word) for word in ids)


def _share(name: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise SettingsError(f"{name} is a share between 0 and 1, not {text!r}.")
    return share


def _days(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 3650):
        raise SettingsError(f"{name} is a whole number of days from 1 to 3650, not {text!r}.")
    return int(text)


_PLAIN: dict[str, Callable[[str, str], Any]] = {
    "account_types": _listed,
    "active_only": _on_or_off,
    "asset_categories": _listed,
    "clients": _account_ids,
    "identical_names": _one_of(*IDENTICAL_NAMES),
    "update_share": _share,
    "gone_share": _share,
    "client_update_share": _share,
    "vanished_share": _share,
    "client_vanished_share": _share,
    "details_max_age_days": _days,
}
_TOGGLES = ("sync", "auto_create")


def _field_of(name: str) -> str:
    """Return the field of ``SyncSettings`` for the setting. Raises ``SettingsError`` for an unknown setting."""
    kind, _, rest = name.partition(".")
    entity, _, column = rest.partition(".")
    if name in _PLAIN or (kind in _TOGGLES and rest in BY_NAME):
        return kind
    if kind == "owner" and entity in BY_NAME and is_field(BY_NAME[entity], column):
        return "ownership"
    raise SettingsError(
        f"There is no setting {name!r}.",
        f"Choose from {', '.join(_PLAIN)}, sync.ENTITY, auto_create.ENTITY, owner.ENTITY.FIELD; `bms-pipeline settings`"
        " shows them all.",
    )


def _parsed(name: str, text: str) -> object:
    kind = _field_of(name)
    if kind == "ownership":
        return _one_of(*FieldOwner)(name, text)
    return _on_or_off(name, text) if kind in _TOGGLES else _PLAIN[name](name, text)


def _value(settings: SyncSettings, name: str) -> object:
    kind, key = _field_of(name), name.partition(".")[2]
    if kind == "ownership":
        return settings.ownership.get(key, FieldOwner.LAST_EDIT)
    return getattr(settings, kind)[key] if kind in _TOGGLES else getattr(settings, name)


def _with(settings: SyncSettings, name: str, value: object) -> SyncSettings:
    kind, key = _field_of(name), name.partition(".")[2]
    if kind == "ownership":
        others = {field_name: owner for field_name, owner in settings.ownership.items() if field_name != key}
        return _replaced(settings, kind, others if value == FieldOwner.LAST_EDIT else {**others, key: value})
    return _replaced(settings, kind, {**getattr(settings, kind), key: value} if kind in _TOGGLES else value)


def _replaced(settings: SyncSettings, name: str, value: object) -> SyncSettings:
    changed: dict[str, Any] = {name: value}
    return replace(settings, **changed)
