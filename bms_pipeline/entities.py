"""The five entities, declared once: where BMS lists them, which fields are read, how they map and match.

Everything downstream (landing, snapshot, reconcile, plan, load, Dagster assets, CLI tables) is generated from
``ENTITIES``; adding a field or an entity happens here. Nothing here opens a file or a connection.

Certainty of the API facts (``docs/api_facts.md``): list calls and field names are from the vendor's OpenAPI document;
Passportal's labels were seen in real responses.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from bms_pipeline.errors import SettingsError
from bms_pipeline.junk import Kind, is_junk

EntityName = str
"""One of ``clients``, ``users``, ``locations``, ``contacts``, ``assets``."""

WireType = str | list[Any] | dict[str, Any]
"""A DuckDB type, or for nested JSON a list or an object of them."""


@dataclass(frozen=True)
class ListCall:
    """One list call of the BMS API.

    ``has_total``: answers carry ``totalRecords``. ``modified_since``: takes ``Filter.ModifiedOnFrom``.
    """

    name: str
    path: str
    has_total: bool
    modified_since: bool


ACCOUNTS = ListCall("accounts", "/v2/crm/accounts/summary", has_total=True, modified_since=True)
EMPLOYEES = ListCall("employees", "/v2/hr/employees/searchselect", has_total=True, modified_since=False)
CONTACTS = ListCall("contacts", "/v2/crm/contacts/summary", has_total=True, modified_since=True)
ASSETS = ListCall("assets", "/v2/servicedesk/hardwareasset/searchselect", has_total=False, modified_since=False)

LIST_CALLS = (ACCOUNTS, EMPLOYEES, CONTACTS, ASSETS)


@dataclass(frozen=True)
class DetailCall:
    """The call that gives more of one record than its list does, one call a record [S].

    ``path`` has ``{id}`` where the record's id goes. ``wire`` maps each JSON key that is read to its type.
    """

    path: str
    wire: Mapping[str, str]

    @property
    def endpoint(self) -> str:
        """What the hourly limit counts by."""
        return f"GET {self.path}"


@dataclass(frozen=True)
class Clue:
    """What a field says about two records being the same one; for suggestions only, nothing is matched by it.

    ``key`` is SQL over the columns, the same on both sides, blank as NULL: equal keys agree. ``like`` is SQL for the
    part that is nearly the same where only the spelling differs; None where a near miss says nothing.
    ``agrees`` and ``differs`` are in bits: how many times a value that nobody else has doubles the odds, and how many
    times another value halves them. ``finds``: sharing the value makes a candidate whatever the names are.
    ``tail``: a key that is the end of the other is equal to it, if it has as many characters as this.
    """

    key: str
    agrees: float
    differs: float
    like: str | None = None
    finds: bool = False
    tail: int = 0


@dataclass(frozen=True)
class Field:
    """One value that is kept of a record, always text.

    ``sql`` computes it from the record's wire columns; ``label`` is its name in Passportal. ``clue``: what it says
    about identity, None for nothing. ``from_details``: ``sql`` is over what the detail call gives, so the value comes
    later than the record. ``kind``: what junk looks like in it.
    """

    name: str
    sql: str
    label: str
    clue: Clue | None = None
    from_details: bool = False
    kind: Kind = Kind.TEXT


@dataclass(frozen=True)
class Rule:
    """Records of both sides that share all of ``keys`` are the same record, if exactly one on each side bears them.

    ``across_clients``: unique in the whole tenant and not only inside its client (a serial number is).
    ``is_doubtful``: such records are probably the same one, so they are neither matched nor created without a person.
    """

    reason: str
    keys: tuple[str, ...]
    across_clients: bool = False
    is_doubtful: bool = False


@dataclass(frozen=True)
class Entity:
    """One of the five kinds of records.

    ``wire`` maps each JSON key that is read to its type; ``other_keys`` are documented and not read. ``array_in`` names
    the array of the list call's rows that holds the records (locations sit inside accounts). ``name_sql`` is the
    record's name, by which it is matched.
    ``deciding``: JSON keys that some record of every list must have, because their absence would decide something.
    ``keys`` are SQL expressions over the fields, the same on both sides, blank as NULL. ``decided_by_person``: before
    the first finish an unmatched record waits for a person instead of being created. ``category`` names the field by
    whose values people choose what is synced.
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
    other_keys: tuple[str, ...] = ()
    has_client: bool = True
    decided_by_person: bool = False
    array_in: str | None = None
    category: str | None = None
    active_sql: str = "isActive"
    modified_sql: str = "NULL::VARCHAR"
    account_sql: str = "accountId"
    account_type_sql: str = "NULL::BIGINT"
    details: DetailCall | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that BMS and Passportal share, ``name`` first."""
        return ("name", *(each.name for each in self.fields))

    @property
    def listed_fields(self) -> tuple[Field, ...]:
        """The fields that the list call gives."""
        return tuple(each for each in self.fields if not each.from_details)

    @property
    def detail_fields(self) -> tuple[Field, ...]:
        """The fields that the detail call gives."""
        return tuple(each for each in self.fields if each.from_details)

    @property
    def labels(self) -> dict[str, str]:
        """Column → Passportal label."""
        return {"name": "Name", **{each.name: each.label for each in self.fields}}


def _first(array: str, value: str, wanted: str) -> str:
    """SQL: ``value`` of the element with the lowest id among those for which ``wanted`` holds, else NULL.

    A contact can have two default e-mails; the choice must not depend on the order in which they are listed.
    """
    return f"list_sort(list_filter({array}, lambda e: {wanted}))[1].{value}"


def _first_or_any(array: str, value: str, wanted: str) -> str:
    """SQL: as ``_first``, falling back to the element with the lowest id."""
    several = f"coalesce({_first(array, value, wanted)}, list_sort({array})[1].{value})"
    # Nearly every record has one or none, and then there is nothing to choose.
    return f"CASE WHEN len({array}) > 1 THEN {several} ELSE {array}[1].{value} END"


def _text(column: str, agrees: float, differs: float) -> Clue:
    """The clue in words that people type: case, accents and punctuation aside, and misspelt they are near."""
    words = rf"nullif(trim(regexp_replace(lower(strip_accents({column})), '[^\p{{L}}\p{{M}}\p{{N}}]+', ' ', 'g')), '')"
    words = f"CASE WHEN NOT {is_junk(Kind.TEXT, column)} THEN {words} END"
    return Clue(words, agrees, differs, like=words)


def _code(column: str, agrees: float, differs: float) -> Clue:
    """The clue in a code such as a postal code: letters and digits, of which each counts."""
    code = rf"nullif(upper(regexp_replace({column}, '[^\p{{L}}\p{{N}}.:]', '', 'g')), '')"
    return Clue(f"CASE WHEN NOT {is_junk(Kind.TEXT, column)} THEN {code} END", agrees, differs)


def _phone(column: str, agrees: float, *, finds: bool = True) -> Clue:
    """The clue in a phone number: its last nine digits, because country prefix and leading zero come and go."""
    main = f"regexp_replace(lower({column}), '(x|ext|#).*$', '')"
    digits = f"right(ltrim(regexp_replace({main}, '[^0-9]', '', 'g'), '0'), 9)"
    real = f"length({digits}) >= 7 AND NOT {is_junk(Kind.PHONE, column)}"
    return Clue(f"CASE WHEN {real} THEN {digits} END", agrees, 0.5, finds=finds, tail=7)


def _email_of_person(key: str) -> Clue:
    """The clue in a person's e-mail; ``key`` is its SQL. What stands before the @ may be spelt differently."""
    return Clue(key, 10, 2, like=f"nullif(split_part({key}, '@', 1), '')", finds=True)


def _email_of_company(key: str) -> Clue:
    """The clue in a company's e-mail; ``key`` is its SQL. Another mailbox of the same domain is near."""
    return Clue(key, 9, 0.5, like=f"nullif(split_part({key}, '@', 2), '')", finds=True)


NAME = Rule("identical_name", ("real_name_key",))
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
    """SQL: the day of a moment as BMS writes it. .NET's zero, 0001-01-01, is no date [G]."""
    day = f"nullif(left({column}, 10), '0001-01-01')"
    return rf"CASE WHEN regexp_full_match({column}, '\d{{4}}-\d{{2}}-\d{{2}}T.*') THEN {day} ELSE {column} END"


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
    other_keys=(
        "createdBy",
        "createdOn",
        "modifiedBy",
        "parentId",
        "accountCode",
        "accountType",
        "businessTypeId",
        "businessType",
        "serviceTypeId",
        "serviceType",
        "accountManagerId",
        "accountManagerUserName",
        "currencyId",
        "currencyName",
        "creditLimit",
        "netDays",
        "salesTaxItemId",
        "salesTaxItemName",
        "website",
        "description",
        "classId",
        "className",
        "isBilling",
        "acquiredDate",
        "tenantName",
    ),
    name_sql="accountName",
    fields=(
        Field("phone", f"{_MAIN_SITE}.addresses[1].phone", "Phone", _phone("phone", 7), kind=Kind.PHONE),
        Field("email", f"{_MAIN_SITE}.addresses[1].emailAddress", "Email", _email_of_company(_EMAIL), kind=Kind.EMAIL),
    ),
    deciding=("id", "accountName", "accountTypeId", "isActive"),
    rules=(NAME,),
    has_client=False,
    decided_by_person=True,
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
    other_keys=(
        "username",
        "jobTitle",
    ),
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
    other_keys=(
        "createdBy",
        "createdOn",
        "modifiedBy",
        "isMain",
        "timeZoneId",
        "dateFormatId",
        "timeFormatId",
    ),
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

CONTACT_RECORDS = Entity(
    name="contacts",
    singular="contact",
    list_call=CONTACTS,
    wire={
        "id": "BIGINT",
        "accountId": "BIGINT",
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
    other_keys=(
        "createdBy",
        "createdOn",
        "modifiedBy",
        "accountName",
        "locationId",
        "effectiveDate",
        "isBillable",
        "canRecieveInvoices",
    ),
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
        Field("location", "locationName", "Location", _text("location", 1.5, 0.5)),
        Field("primary_contact", "CASE WHEN isPoc THEN 'Yes' ELSE 'No' END", "Primary Contact"),
    ),
    keys={"email_key": _EMAIL},
    deciding=("id", "accountId", "firstName", "lastName", "isPoc", "isActive"),
    rules=(NAME, Rule("identical_name_and_email", ("real_name_key", "email_key"))),
    modified_sql="modifiedOn",
)

ASSET_RECORDS = Entity(
    name="assets",
    singular="asset",
    list_call=ASSETS,
    wire={
        "id": "BIGINT",
        "accountId": "BIGINT",
        "assetName": "VARCHAR",
        "categoryName": "VARCHAR",
        "locationName": "VARCHAR",
        "serialNumber": "VARCHAR",
        "ipAddress": "VARCHAR",
        "contactName": "VARCHAR",
        "isActive": "BOOLEAN",
    },
    other_keys=(
        "categoryId",
        "machineGroupId",
        "contactId",
        "accountName",
    ),
    name_sql="assetName",
    fields=(
        Field("type", "categoryName", "Type", _text("type", 1, 1)),
        Field(
            "serial_number",
            "serialNumber",
            "Serial Number",
            Clue("serial_key", 12, 4, finds=True),
            kind=Kind.SERIAL,
        ),
        Field("primary_ip", "ipAddress", "Primary IP", _code("primary_ip", 3, 0.3)),
        Field("location", "locationName", "Location", _text("location", 1.5, 0.5)),
        Field("assigned_user", "contactName", "Assigned User", _text("assigned_user", 3, 0.4)),
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
        wire=dict.fromkeys(
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
    ),
    keys={"serial_key": "serial_keys(serial_number)[1]", "real_serial_key": "serial_keys(serial_number)[2]"},
    category="type",
    deciding=("id", "accountId", "assetName", "categoryName", "isActive"),
    rules=(
        Rule("identical_serial", ("real_serial_key",), across_clients=True),
        NAME,
        Rule("doubtful_serial", ("serial_key",), across_clients=True, is_doubtful=True),
    ),
)

ENTITIES: tuple[Entity, ...] = (CLIENTS, USERS, LOCATIONS, CONTACT_RECORDS, ASSET_RECORDS)
"""In the order they are loaded: clients before what lives inside them."""


def declared_keys(list_call: ListCall) -> set[str]:
    """Return every key that the answers of ``list_call`` may hold, at any depth."""
    entities = [entity for entity in ENTITIES if entity.list_call == list_call]
    return {key for entity in entities for key in (*entity.other_keys, *_keys_of(dict(entity.wire)))}


def _keys_of(wire: WireType) -> set[str]:
    if isinstance(wire, list):
        return _keys_of(wire[0])
    if isinstance(wire, dict):
        return set(wire) | {key for inner in wire.values() for key in _keys_of(inner)}
    return set()


BY_NAME: dict[EntityName, Entity] = {each.name: each for each in ENTITIES}


def chosen(names: Collection[str] | None) -> tuple[Entity, ...]:
    """The entities with these names, in loading order; all where none is named. Raises ``SettingsError``."""
    unknown = [each for each in names or () if each not in BY_NAME]
    if unknown:
        raise SettingsError(f"There is no entity {unknown[0]!r}.", f"Choose from {', '.join(BY_NAME)}.")
    return tuple(each for each in ENTITIES if not names or each.name in names)


def with_clients(entities: Collection[Entity]) -> list[Entity]:
    """``entities`` in loading order, with clients before what lives inside them."""
    inside = any(each.has_client for each in entities)
    return [each for each in ENTITIES if each in entities or (inside and each.name == "clients")]
