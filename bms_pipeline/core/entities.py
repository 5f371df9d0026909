"""The five entities, declared once: their list call in BMS, the fields to read, their mapping and matching.

Everything downstream (landing, snapshot, reconcile, plan, load, Dagster assets, CLI tables) is generated from
``ENTITIES``. Add a field or an entity here. Nothing here opens a file or a connection.

Certainty of the API facts (``docs/api_facts.md``): list calls and field names are from the vendor's OpenAPI document;
Passportal's labels were seen in real responses.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from bms_pipeline.core import bms_keys
from bms_pipeline.core.bms_keys import KeyKind
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.junk import Kind, is_junk
from bms_pipeline.core.reasons import Reason

EntityName = str
"""One of ``clients``, ``users``, ``locations``, ``contacts``, ``assets``."""

WireType = str | list[Any] | dict[str, Any]
"""A DuckDB type; for nested JSON a list or an object of DuckDB types."""

SCALAR = "SCALAR"
"""The type of a key read for a mapping only: a value of any kind but a list or an object, taken as text."""

IN_DETAIL = "detail."
"""Before a key of the detail call, where a mapping names it."""


class OfClient(StrEnum):
    """How a list gives the records of one client alone.

    ``BY_ID``: the record with the client's id, read by itself [S]. ``BY_FILTER``: ``Filter.AccountId`` [S].
    """

    BY_ID = "by_id"
    BY_FILTER = "by_filter"


@dataclass(frozen=True)
class ListCall:
    """One list call of the BMS API.

    ``has_total``: answers carry ``totalRecords``. ``modified_since``: takes ``Filter.ModifiedOnFrom``. ``of_client``:
    how the records of one client alone are read; None where they belong to no client.
    """

    name: str
    path: str
    has_total: bool
    modified_since: bool
    of_client: OfClient | None = None


ACCOUNTS = ListCall(
    "accounts", "/v2/crm/accounts/summary", has_total=True, modified_since=True, of_client=OfClient.BY_ID
)
EMPLOYEES = ListCall("employees", "/v2/hr/employees/searchselect", has_total=True, modified_since=False)
CONTACTS_LIST = ListCall(
    "contacts", "/v2/crm/contacts/summary", has_total=True, modified_since=True, of_client=OfClient.BY_FILTER
)
ASSETS_LIST = ListCall(
    "assets",
    "/v2/servicedesk/hardwareasset/searchselect",
    has_total=False,
    modified_since=False,
    of_client=OfClient.BY_FILTER,
)

LIST_CALLS = (ACCOUNTS, EMPLOYEES, CONTACTS_LIST, ASSETS_LIST)


@dataclass(frozen=True)
class DetailCall:
    """The call for more fields of one record than its list gives, one call a record [S].

    ``path`` has ``{id}`` in place of the record's id. ``wire`` is JSON key → type, for the keys that are read;
    ``documented`` has all keys with a single value.
    """

    path: str
    wire: Mapping[str, str]
    documented: bms_keys.Keys = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The endpoint, as the hourly limit counts it."""
        return f"GET {self.path}"


@dataclass(frozen=True)
class Comparison:
    """A field as evidence for two records being the same; only for suggestions, never for matching.

    ``key`` is SQL over the columns, the same on both sides, with NULL for blank: equal keys agree. ``like`` is SQL for
    a part in which a misspelt value is still nearly the same; None where a near miss means nothing.

    ``agrees`` and ``differs`` are in bits. An agreeing value unique to one record doubles the odds ``agrees`` times; a
    differing value halves them ``differs`` times. ``finds``: sharing the value makes a candidate, whatever the names
    are. ``tail``: two keys are equal if one is the end of the other and has at least this many characters; 0 for never.
    """

    key: str
    agrees: float
    differs: float
    like: str | None = None
    finds: bool = False
    tail: int = 0


@dataclass(frozen=True)
class Link:
    """The record named by a field, of another ``entity``, by its id in BMS.

    ``sql`` computes the id from the record's wire columns; ``from_details``: from the fields of the detail call.
    """

    entity: EntityName
    sql: str
    from_details: bool = False


@dataclass(frozen=True)
class Field:
    """One value kept of a record, always text.

    ``sql`` computes it from the record's wire columns. ``label`` is its name in Passportal. ``clue`` is its evidence
    about identity, None for no evidence. ``from_details``: ``sql`` is over the fields of the detail call, so the value
    arrives later than the record. ``kind`` selects the patterns of junk in it. ``key``: the key of BMS by which a
    mapping names a field beyond the entity's own; None for its own fields. ``link``: the record that the text
    names, None where it names none.
    """

    name: str
    sql: str
    label: str
    clue: Comparison | None = None
    from_details: bool = False
    kind: Kind = Kind.TEXT
    key: str | None = None
    link: Link | None = None

    @property
    def json_key(self) -> str | None:
        """The key in the answer of BMS, for a field named by its key."""
        return self.key and self.key.removeprefix(IN_DETAIL)

    @property
    def link_column(self) -> str:
        """The column with the BMS id of the named record."""
        return f"{self.name}_id"

    @property
    def description(self) -> str:
        """The field's label in Passportal, and where BMS has the value."""
        source = f"`{self.json_key or self.sql}` of BMS" if self.json_key or self.sql.isidentifier() else "BMS"
        later = ", read with the details" if self.from_details else ""
        return f"{self.label} in Passportal; from {source}{later}."


@dataclass(frozen=True)
class Rule:
    """A matching rule: records of both sides are the same if they share all of ``keys`` and no other record has them.

    ``across_clients``: the keys are unique in the whole tenant and not only inside a client (a serial number is).
    ``is_doubtful``: such records are probably the same, so they are neither matched nor created without a person.
    """

    reason: str
    keys: tuple[str, ...]
    across_clients: bool = False
    is_doubtful: bool = False


@dataclass(frozen=True)
class Entity:
    """One of the five kinds of records.

    ``wire`` is JSON key → type, for the keys to read; ``documented`` has all keys with a single value.
    ``array_in`` names the array with the records in the rows of the list call (locations are inside accounts).
    ``name_sql`` is the record's name for matching.

    ``deciding``: JSON keys that some record of every list must have, because their absence would decide something.
    ``keys`` are SQL expressions over the fields, the same on both sides, with NULL for blank. ``decided_by_person``:
    before the first finish an unmatched record waits for a person instead of being created. ``category`` names the
    field whose values people choose from to limit the sync, ``category_sql`` its id in BMS. ``apart``: the folded names
    of Passportal's records that no rule matches, only a person.
    """

    name: EntityName
    singular: str
    list_call: ListCall
    wire: Mapping[str, WireType]
    name_sql: str
    fields: tuple[Field, ...]
    rules: tuple[Rule, ...]
    deciding: tuple[str, ...]
    keys: Mapping[str, str] = field(default_factory=dict)
    documented: bms_keys.Keys = field(default_factory=dict)
    has_client: bool = True
    decided_by_person: bool = False
    array_in: str | None = None
    category: str | None = None
    apart: tuple[str, ...] = ()
    active_sql: str = "isActive"
    modified_sql: str = "NULL::VARCHAR"
    account_sql: str = "accountId"
    account_type_sql: str = "NULL::BIGINT"
    category_sql: str = "NULL::BIGINT"
    details: DetailCall | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns BMS and Passportal share, ``name`` first."""
        return ("name", *(field.name for field in self.fields))

    @property
    def listed_fields(self) -> tuple[Field, ...]:
        """The fields of the list call."""
        return tuple(field for field in self.fields if not field.from_details)

    @property
    def detail_fields(self) -> tuple[Field, ...]:
        """The fields of the detail call."""
        return tuple(field for field in self.fields if field.from_details)

    @property
    def links(self) -> dict[str, Link]:
        """Column with the BMS id of another record → where that id comes from."""
        return {field.link_column: field.link for field in self.fields if field.link is not None}

    def field(self, name: str) -> Field | None:
        """Return the field of this name; None for the name itself and for any other column."""
        return next((field for field in self.fields if field.name == name), None)

    @property
    def descriptions(self) -> dict[str, str]:
        """Column → description, of the columns common to BMS and Passportal."""
        name = f"The {self.singular}'s name, by which it is matched."
        return {"name": name, **{field.name: field.description for field in self.fields}}

    @property
    def labels(self) -> dict[str, str]:
        """Column → Passportal label."""
        return {"name": "Name", **{field.name: field.label for field in self.fields}}

    @property
    def other_keys(self) -> tuple[str, ...]:
        """The documented keys with a single value, not read."""
        return tuple(key for key in self.documented if key not in self.wire)

    @property
    def added_fields(self) -> tuple[Field, ...]:
        """The fields added by a mapping: those read by their key, and constants."""
        return tuple(field for field in self.fields if field.name.startswith((LISTED, DETAILED, CONSTANT, CLEARED)))

    def with_fields(self, fields: Iterable[Field]) -> Entity:
        """Return the entity with further fields, and with their keys among those read."""
        added = tuple(fields)
        if not added:
            return self
        keys = {field.json_key: SCALAR for field in added if field.json_key and not field.from_details}
        in_detail = {field.json_key: SCALAR for field in added if field.json_key and field.from_details}
        details = self.details and replace(self.details, wire={**in_detail, **self.details.wire})
        return replace(self, fields=(*self.fields, *added), wire={**keys, **self.wire}, details=details)


LISTED, DETAILED, CONSTANT, CLEARED = "list_", "detail_", "constant_", "cleared_"
"""The beginnings of the columns of fields added by a mapping: of the list, of the detail, constants, old labels."""


def fields_by_key(entity: Entity) -> dict[str, Field]:
    """Return key → field, for the documented keys a mapping may name; their label is empty.

    Keys of the detail call are named ``detail.KEY``. A key holding the value of one of the entity's own fields is left
    out. Only documents have labels for them, so there is none for clients and users.
    """
    if not entity.has_client:
        return {}
    own = _keys_of_own_fields(entity.listed_fields) | set(re.findall(r"\w+", entity.name_sql))
    own_in_detail = _keys_of_own_fields(entity.detail_fields)
    in_detail = _documented_details(entity)
    listed = {key: _field_of_key(key, kind) for key, kind in entity.documented.items() if key not in own}
    detailed = {
        f"{IN_DETAIL}{key}": _field_of_key(f"{IN_DETAIL}{key}", kind)
        for key, kind in in_detail.items()
        if key not in own_in_detail
    }
    return {**listed, **detailed}


def keys_of(entity: Entity) -> dict[str, KeyKind]:
    """Return key → its documented kind, for the keys of ``fields_by_key``."""
    kinds = {**entity.documented, **{f"{IN_DETAIL}{key}": kind for key, kind in _documented_details(entity).items()}}
    return {key: kinds[key] for key in fields_by_key(entity)}


def _documented_details(entity: Entity) -> bms_keys.Keys:
    return entity.details.documented if entity.details else {}


def _keys_of_own_fields(fields: Iterable[Field]) -> set[str]:
    return {word for own in fields if "lambda" not in own.sql for word in re.findall(r"\w+", own.sql)}


def column_of_label(beginning: str, label: str) -> str:
    """Return the column of a constant, or of an old label; labels different only in case have the same one."""
    folded = label.casefold()
    plain = "_".join(re.findall(r"[a-z0-9]+", folded))
    if plain.replace("_", " ") != folded:
        plain += f"_{hashlib.md5(folded.encode(), usedforsecurity=False).hexdigest()[:6]}"
    return f"{beginning}{plain.strip('_')}"


def _field_of_key(key: str, kind: KeyKind) -> Field:
    is_detail = key.startswith(IN_DETAIL)
    json_key = key.removeprefix(IN_DETAIL)
    column = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", json_key).lower()
    text = f'"{json_key}"::VARCHAR'
    match kind:
        case KeyKind.YES_NO:
            text = f"CASE lower({text}) WHEN 'true' THEN 'Yes' WHEN 'false' THEN 'No' ELSE {text} END"
        case KeyKind.DAY:
            text = _date(text)
    return Field(f"{DETAILED if is_detail else LISTED}{column}", text, "", from_details=is_detail, key=key)


def _first(array: str, value: str, wanted: str) -> str:
    """Return SQL for ``value`` of the element with the lowest id among those matching ``wanted``, else NULL.

    A contact can have two default e-mails. The choice must not depend on their order in the list.
    """
    return f"list_sort(list_filter({array}, lambda e: {wanted}))[1].{value}"


def _first_or_any(array: str, value: str, wanted: str) -> str:
    """Return SQL like ``_first``, falling back to the element with the lowest id."""
    several = f"coalesce({_first(array, value, wanted)}, list_sort({array})[1].{value})"
    # Nearly every record has at most one element, and then there is nothing to choose.
    return f"CASE WHEN len({array}) > 1 THEN {several} ELSE {array}[1].{value} END"


def _text(column: str, agrees: float, differs: float) -> Comparison:
    """Return a clue for free text: it ignores case, accents and punctuation, and misspelt values are near."""
    words = rf"nullif(trim(regexp_replace(lower(strip_accents({column})), '[^\p{{L}}\p{{M}}\p{{N}}]+', ' ', 'g')), '')"
    words = f"CASE WHEN NOT {is_junk(Kind.TEXT, column)} THEN {words} END"
    return Comparison(words, agrees, differs, like=words)


def _code(column: str, agrees: float, differs: float) -> Comparison:
    """Return a clue for a code such as a postal code: letters and digits, where every character counts."""
    code = rf"nullif(upper(regexp_replace({column}, '[^\p{{L}}\p{{N}}.:]', '', 'g')), '')"
    return Comparison(f"CASE WHEN NOT {is_junk(Kind.TEXT, column)} THEN {code} END", agrees, differs)


def _phone(column: str, agrees: float, *, finds: bool = True) -> Comparison:
    """Return a clue for a phone number: its last nine digits, because country prefix and leading zero vary."""
    main = f"regexp_replace(lower({column}), '(x|ext|#).*$', '')"
    digits = f"right(ltrim(regexp_replace({main}, '[^0-9]', '', 'g'), '0'), 9)"
    real = f"length({digits}) >= 7 AND NOT {is_junk(Kind.PHONE, column)}"
    return Comparison(f"CASE WHEN {real} THEN {digits} END", agrees, 0.5, finds=finds, tail=7)


def _email_of_person(key: str) -> Comparison:
    """Return a clue for a person's e-mail; ``key`` is its SQL. The part before the @ may be spelt differently."""
    return Comparison(key, 10, 2, like=f"nullif(split_part({key}, '@', 1), '')", finds=True)


def _email_of_company(key: str) -> Comparison:
    """Return a clue for a company's e-mail; ``key`` is its SQL. Another mailbox of the same domain is near."""
    return Comparison(key, 9, 0.5, like=f"nullif(split_part({key}, '@', 2), '')", finds=True)


NAME = Rule(Reason.IDENTICAL_NAME, ("real_name_key",))
_EMAIL = f"CASE WHEN NOT {is_junk(Kind.EMAIL, 'email')} THEN lower(trim(email)) END"
_MAIN_ADDRESS = "coalesce(list_filter(addresses, lambda e: e.isMain)[1], addresses[1])"
_ADDRESS: WireType = {
    "address1": "VARCHAR",
    "address2": "VARCHAR",
    "city": "VARCHAR",
    "state": "VARCHAR",
    "zipCode": "VARCHAR",
    "country": "VARCHAR",
    "phone": "VARCHAR",
    "fax": "VARCHAR",
    "emailAddress": "VARCHAR",
    "isMain": "BOOLEAN",
}


def _date(column: str) -> str:
    """Return SQL for the day of a timestamp in BMS's format; the macro is defined in ``warehouse.days``."""
    return f"local_day({column})"


_MAIN_SITE = "coalesce(list_filter(locations, lambda e: e.isMain)[1], locations[1])"

CLIENTS = Entity(
    name="clients",
    singular="client",
    list_call=ACCOUNTS,
    wire={
        "id": "BIGINT",
        "accountName": "VARCHAR",
        "accountTypeId": "BIGINT",
        "isActive": "BOOLEAN",
        "modifiedOn": "VARCHAR",
        "locations": [{"isMain": "BOOLEAN", "addresses": [_ADDRESS]}],
    },
    documented=bms_keys.ACCOUNT,
    name_sql="accountName",
    fields=(
        Field("phone", f"{_MAIN_SITE}.addresses[1].phone", "Phone", _phone("phone", 7), kind=Kind.PHONE),
        Field("email", f"{_MAIN_SITE}.addresses[1].emailAddress", "Email", _email_of_company(_EMAIL), kind=Kind.EMAIL),
    ),
    deciding=("id", "accountName", "accountTypeId", "isActive"),
    rules=(NAME,),
    has_client=False,
    decided_by_person=True,
    apart=("company vault",),
    modified_sql="modifiedOn",
    account_sql="id",
    account_type_sql="accountTypeId",
)

USERS = Entity(
    name="users",
    singular="user",
    list_call=EMPLOYEES,
    wire={
        "id": "BIGINT",
        "firstName": "VARCHAR",
        "lastName": "VARCHAR",
        "emailAddress": "VARCHAR",
        "isActive": "BOOLEAN",
    },
    documented=bms_keys.EMPLOYEE,
    name_sql="concat_ws(' ', firstName, lastName)",
    fields=(
        Field("first_name", "firstName", "First Name"),
        Field("last_name", "lastName", "Last Name"),
        Field("email", "emailAddress", "Email", _email_of_person(_EMAIL), kind=Kind.EMAIL),
    ),
    deciding=("id", "firstName", "lastName", "isActive"),
    rules=(NAME,),
    has_client=False,
    decided_by_person=True,
    account_sql="NULL::BIGINT",
)

LOCATIONS = Entity(
    name="locations",
    singular="location",
    list_call=ACCOUNTS,
    array_in="locations",
    wire={
        "id": "BIGINT",
        "locationName": "VARCHAR",
        "isActive": "BOOLEAN",
        "modifiedOn": "VARCHAR",
        "addresses": [_ADDRESS],
    },
    documented=bms_keys.LOCATION,
    name_sql="locationName",
    fields=(
        Field("address_1", f"{_MAIN_ADDRESS}.address1", "Address 1", _text("address_1", 5, 1)),
        Field("address_2", f"{_MAIN_ADDRESS}.address2", "Address 2", _text("address_2", 1.5, 0.2)),
        Field("city", f"{_MAIN_ADDRESS}.city", "City", _text("city", 2, 1.5)),
        Field("state", f"{_MAIN_ADDRESS}.state", "State / Province", _text("state", 0.8, 0.4)),
        Field("postal_code", f"{_MAIN_ADDRESS}.zipCode", "ZIP / Postal Code", _code("postal_code", 3, 1)),
        Field("country", f"{_MAIN_ADDRESS}.country", "Country", _text("country", 0.5, 0.4)),
        Field("phone", f"{_MAIN_ADDRESS}.phone", "Phone", _phone("phone", 6), kind=Kind.PHONE),
        Field("fax", f"{_MAIN_ADDRESS}.fax", "Fax", _phone("fax", 4, finds=False), kind=Kind.PHONE),
    ),
    deciding=("id", "locationName", "isActive"),
    rules=(NAME,),
    modified_sql="modifiedOn",
)

CONTACTS = Entity(
    name="contacts",
    singular="contact",
    list_call=CONTACTS_LIST,
    wire={
        "id": "BIGINT",
        "accountId": "BIGINT",
        "locationId": "BIGINT",
        "locationName": "VARCHAR",
        "firstName": "VARCHAR",
        "lastName": "VARCHAR",
        "jobTitle": "VARCHAR",
        "isPoc": "BOOLEAN",
        "isActive": "BOOLEAN",
        "modifiedOn": "VARCHAR",
        "emails": [{"id": "BIGINT", "emailAddress": "VARCHAR", "isDefault": "BOOLEAN"}],
        "phones": [{"id": "BIGINT", "phone": "VARCHAR", "phoneType": "VARCHAR", "isDefault": "BOOLEAN"}],
    },
    documented=bms_keys.CONTACT,
    name_sql="concat_ws(' ', firstName, lastName)",
    fields=(
        Field("first_name", "firstName", "First Name"),
        Field("last_name", "lastName", "Last Name"),
        Field("job_title", "jobTitle", "Job Title", _text("job_title", 2, 0.5)),
        Field(
            "email",
            _first_or_any("emails", "emailAddress", "e.isDefault"),
            "Email Address",
            _email_of_person("email_key"),
            kind=Kind.EMAIL,
        ),
        Field("phone", _first_or_any("phones", "phone", "e.isDefault"), "Phone", _phone("phone", 7), kind=Kind.PHONE),
        Field(
            "mobile_phone",
            _first("phones", "phone", "lower(e.phoneType) LIKE '%mobile%'"),
            "Mobile Phone",
            _phone("mobile_phone", 8),
            kind=Kind.PHONE,
        ),
        Field(
            "location",
            "locationName",
            "Location",
            _text("location", 1.5, 0.5),
            link=Link("locations", "nullif(locationId, 0)"),
        ),
        Field("primary_contact", "CASE WHEN isPoc THEN 'Yes' ELSE 'No' END", "Primary Contact"),
    ),
    keys={"email_key": _EMAIL},
    deciding=("id", "accountId", "firstName", "lastName", "isPoc", "isActive"),
    rules=(NAME, Rule(Reason.IDENTICAL_NAME_AND_EMAIL, ("real_name_key", "email_key"))),
    modified_sql="modifiedOn",
)

ASSETS = Entity(
    name="assets",
    singular="asset",
    list_call=ASSETS_LIST,
    wire={
        "id": "BIGINT",
        "accountId": "BIGINT",
        "assetName": "VARCHAR",
        "categoryId": "BIGINT",
        "categoryName": "VARCHAR",
        "locationName": "VARCHAR",
        "serialNumber": "VARCHAR",
        "ipAddress": "VARCHAR",
        "contactId": "BIGINT",
        "contactName": "VARCHAR",
        "isActive": "BOOLEAN",
    },
    documented=bms_keys.ASSET,
    name_sql="assetName",
    fields=(
        Field("type", "categoryName", "Type", _text("type", 1, 1)),
        Field(
            "serial_number",
            "serialNumber",
            "Serial Number",
            Comparison("serial_key", 12, 4, finds=True),
            kind=Kind.SERIAL,
        ),
        Field("primary_ip", "ipAddress", "Primary IP", _code("primary_ip", 3, 0.3)),
        Field(
            "location",
            "locationName",
            "Location",
            _text("location", 1.5, 0.5),
            link=Link("locations", "nullif(accountLocationId, 0)", from_details=True),
        ),
        Field(
            "assigned_user",
            "contactName",
            "Assigned User",
            _text("assigned_user", 3, 0.4),
            link=Link("contacts", "nullif(contactId, 0)"),
        ),
        Field("manufacturer", "brand", "Manufacturer", from_details=True),
        Field("model", "modelNumber", "Model", from_details=True),
        Field("operating_system", "osInfo", "Operating System", from_details=True),
        Field("platform", "osType", "Platform", from_details=True),
        Field("mac_address", "macAddress", "MAC Address", from_details=True),
        Field("default_gateway", "defaultGateway", "Default Gateway", from_details=True),
        Field("asset_tag", "assetTag", "Asset Tag", from_details=True),
        Field("status", "state", "Status", from_details=True),
        Field("notes", "description", "Notes", from_details=True),
        Field("purchase_date", _date("acquisitionDate"), "Purchase Date", from_details=True),
        Field("expiration_date", _date("warrantyExpirationDate"), "Expiration Date", from_details=True),
    ),
    details=DetailCall(
        "/v2/servicedesk/hardwareasset/{id}",
        wire={
            **dict.fromkeys(
                (
                    "brand",
                    "modelNumber",
                    "osInfo",
                    "osType",
                    "macAddress",
                    "defaultGateway",
                    "assetTag",
                    "state",
                    "description",
                    "acquisitionDate",
                    "warrantyExpirationDate",
                ),
                "VARCHAR",
            ),
            "accountLocationId": "BIGINT",
        },
        documented=bms_keys.ASSET_DETAIL,
    ),
    keys={"serial_key": "serial_keys(serial_number)[1]", "real_serial_key": "serial_keys(serial_number)[2]"},
    category="type",
    category_sql="categoryId",
    deciding=("id", "accountId", "assetName", "categoryName", "isActive"),
    rules=(
        Rule(Reason.IDENTICAL_SERIAL, ("real_serial_key",), across_clients=True),
        NAME,
        Rule(Reason.DOUBTFUL_SERIAL, ("serial_key",), across_clients=True, is_doubtful=True),
    ),
)

ENTITIES: tuple[Entity, ...] = (CLIENTS, USERS, LOCATIONS, CONTACTS, ASSETS)
"""The entities in loading order: clients before the records inside them."""


def declared_keys(list_call: ListCall) -> set[str]:
    """Return every possible key in the answers of ``list_call``, at any depth."""
    entities = [entity for entity in ENTITIES if entity.list_call == list_call]
    return {key for entity in entities for key in (*entity.documented, *_keys_of(dict(entity.wire)))}


def _keys_of(wire: WireType) -> set[str]:
    if isinstance(wire, list):
        return _keys_of(wire[0])
    if isinstance(wire, dict):
        return set(wire) | {key for inner in wire.values() for key in _keys_of(inner)}
    return set()


BY_NAME: dict[EntityName, Entity] = {entity.name: entity for entity in ENTITIES}


def chosen(names: Collection[str] | None) -> tuple[Entity, ...]:
    """Return the entities with these names, in loading order; all if ``names`` is empty. Raises ``SettingsError``."""
    unknown = [name for name in names or () if name not in BY_NAME]
    if unknown:
        raise SettingsError(f"There is no entity {unknown[0]!r}.", f"Choose from {', '.join(BY_NAME)}.")
    return tuple(entity for entity in ENTITIES if not names or entity.name in names)


def with_clients(entities: Collection[Entity]) -> list[Entity]:
    """Return ``entities`` in loading order, with clients before the records inside them."""
    inside = any(entity.has_client for entity in entities)
    return [entity for entity in ENTITIES if entity in entities or (inside and entity.name == "clients")]
