"""The BMS records on the wire: one struct per vendor DTO of the sandbox's answers, in camelCase.

This module holds shapes and their JSON. The population chooses their values.
Nullable fields default to null, as in the vendor's document; the frozen vendor typos are kept.
"""

from __future__ import annotations

import msgspec

_ENCODER = msgspec.json.Encoder()


class Record(msgspec.Struct, rename="camel", kw_only=True, gc=False):
    """The base of every DTO: it becomes compact camelCase JSON."""

    def encode(self) -> bytes:
        """Return the record as JSON for the wire."""
        return _ENCODER.encode(self)


class Stamped(Record, kw_only=True):
    """A record with the people who made and last changed it."""

    id: int
    created_by: int | None = None
    created_on: str | None = None
    modified_by: int | None = None
    modified_on: str | None = None


class Address(Stamped, kw_only=True):
    """``AccountAddressOutputDto``."""

    address1: str | None = None
    address2: str | None = None
    city: str | None = None
    state: str | None = None
    zip_code: str | None = None
    country_id: int | None = None
    country: str | None = None
    phone: str | None = None
    fax: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    email_address: str | None = None
    is_main: bool
    is_billing: bool
    address_type_id: int | None = None
    address_type: str | None = None


class Location(Stamped, kw_only=True):
    """``AccountLocationOutputDto``."""

    location_name: str | None = None
    is_main: bool
    is_active: bool
    time_zone_id: int | None = None
    date_format_id: int | None = None
    time_format_id: int | None = None
    addresses: list[Address] | None = None


class LocationLookup(Record, kw_only=True):
    """``AccountLocationLookupOutputDto``."""

    id: int
    name: str | None = None
    account_id: int
    is_main: bool


class Account(Stamped, kw_only=True):
    """``AccountSummaryOutputDto``."""

    parent_id: int | None = None
    account_code: str | None = None
    account_type_id: int | None = None
    account_type: str | None = None
    account_name: str | None = None
    business_type_id: int | None = None
    business_type: str | None = None
    service_type_id: int | None = None
    service_type: str | None = None
    account_manager_id: int | None = None
    account_manager_user_name: str | None = None
    currency_id: int | None = None
    currency_name: str | None = None
    credit_limit: float | None = None
    net_days: float | None = None
    sales_tax_item_id: int | None = None
    sales_tax_item_name: str | None = None
    website: str | None = None
    description: str | None = None
    class_id: int | None = None
    class_name: str | None = None
    is_active: bool
    is_billing: bool
    acquired_date: str | None = None
    tenant_name: str | None = None
    locations: list[Location] | None = None


class AccountType(Record, kw_only=True):
    """``AccountTypeLookupOutputDto``."""

    id: int
    name: str | None = None
    is_active: bool
    is_client: bool
    is_vendor: bool


class ContactEmail(Stamped, kw_only=True):
    """``ContactEmailOutputDto``."""

    email_address: str | None = None
    email_type_id: int
    email_type: str | None = None
    is_default: bool


class ContactPhone(Stamped, kw_only=True):
    """``ContactPhoneOutputDto``."""

    phone: str | None = None
    phone_type_id: int
    phone_type: str | None = None
    is_default: bool


class Contact(Stamped, kw_only=True):
    """``ContactsSummaryOutputDto``."""

    account_id: int
    account_name: str | None = None
    location_id: int | None = None
    location_name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    job_title: str | None = None
    is_poc: bool
    is_active: bool
    effective_date: str | None = None
    is_billable: bool
    emails: list[ContactEmail] | None = None
    phones: list[ContactPhone] | None = None
    can_recieve_invoices: bool


class Employee(Record, kw_only=True):
    """``EmployeesListSearchSelectOutputDto``."""

    id: int
    first_name: str | None = None
    last_name: str | None = None
    email_address: str | None = None
    username: str | None = None
    job_title: str | None = None
    is_active: bool | None = None


class Asset(Record, kw_only=True):
    """``HardwareAssetsListSearchSelectOutputDto``."""

    id: int
    category_name: str | None = None
    category_id: int
    location_name: str | None = None
    asset_name: str | None = None
    serial_number: str | None = None
    machine_group_id: str | None = None
    ip_address: str | None = None
    contact_id: int
    contact_name: str | None = None
    account_id: int
    account_name: str | None = None
    is_active: bool


class DiskVolume(Record, kw_only=True):
    """``HardwareAssetDiskVolumeDto``."""

    drive: str | None = None
    type: str | None = None
    format: str | None = None
    free_m_bytes: int
    used_m_bytes: int
    total_m_bytes: int
    label: str | None = None


class AssetStatus(Record, kw_only=True):
    """``Statuses``."""

    message: str | None = None
    name: str | None = None
    color: str | None = None


class AssetDetail(Record, kw_only=True):
    """``HardwareAssetOutputDto``: the answer to the one-call-per-asset read."""

    id: int | None = None
    name: str | None = None
    account_id: int | None = None
    account_name: str | None = None
    account_location_id: int | None = None
    account_location: str | None = None
    contact_id: int | None = None
    contact_first_name: str | None = None
    contact_last_name: str | None = None
    category_id: int | None = None
    category: str | None = None
    brand_id: int | None = None
    brand: str | None = None
    serial_number: str | None = None
    business_impact_id: int | None = None
    business_impact: str | None = None
    state_id: int | None = None
    state: str | None = None
    location_info: str | None = None
    description: str | None = None
    bar_code: str | None = None
    asset_tag: str | None = None
    vendor_id: int | None = None
    web_remote_url: str | None = None
    vendor: str | None = None
    is_active: bool
    model_number: str | None = None
    machine_group_id: str | None = None
    ip_address: str | None = None
    subnet_mask: str | None = None
    default_gateway: str | None = None
    dns_servers: str | None = None
    dhcp_enabled: bool
    dhcp_server: str | None = None
    wins_enabled: bool
    secondary_wins_server: str | None = None
    connection_gateway_ip: str | None = None
    os_type: str | None = None
    os_info: str | None = None
    major_version: str | None = None
    minor_version: str | None = None
    mac_address: str | None = None
    login_name: str | None = None
    last_loginname: str | None = None
    current_user: str | None = None
    product_name: str | None = None
    machine_version: str | None = None
    motherboard_manufacturer_id: int | None = None
    motherboard_manufacturer: str | None = None
    motherboard_product_code: str | None = None
    motherboard_serial_number: str | None = None
    motherboard_version: str | None = None
    chassis_asset_tag: str | None = None
    chassis_manufacturer_id: int | None = None
    chassis_manufacturer: str | None = None
    chassis_serial_number: str | None = None
    chassis_type: str | None = None
    chassis_version: str | None = None
    bus_speed: str | None = None
    manufacturer_id: int | None = None
    manufacturer: str | None = None
    max_memory_size: str | None = None
    max_memory_slots: str | None = None
    primary_wins_server: str | None = None
    purchase_cost: float | None = None
    warranty_expiration_date: str | None = None
    expiration_date: str | None = None
    acquisition_date: str | None = None
    first_check_in: str | None = None
    last_check_in: str | None = None
    last_reboot: str | None = None
    created_by_id: int | None = None
    created_by: str | None = None
    modified_by_id: int | None = None
    modified_by: str | None = None
    created_on: str | None = None
    modified_on: str | None = None
    contact_email_address: str | None = None
    contact_phone_number: str | None = None
    agent_id: str | None = None
    disk_volumes: list[DiskVolume] | None = None
    integration_type_id: int | None = None
    statuses: list[AssetStatus] | None = None


class UserInfo(Record, kw_only=True):
    """``UserInfoOutputDto``: the logged-in user, and the tenant's time zone."""

    user_id: int
    full_name: str | None = None
    email_address: str | None = None
    time_stamp: str
    time_zone_value: float
    time_zone_name: str | None = None
    olson_time_zone_name: str | None = None
    date_format: str | None = None
    time_format: str | None = None
    time_format_with_seconds: str | None = None
    tenant_id: int
    account_id: int | None = None
    location_id: int | None = None
    contact_id: int | None = None
    business_name: str | None = None
    user_access_rights: list[dict[str, bool | int]] | None = None
    special_features: list[dict[str, int]] | None = None
    views_menus: list[dict[str, str]] | None = None
    queues_menus: list[dict[str, str]] | None = None
    currency_code: str | None = None
    culture_code: str | None = None
    files_version_number: str | None = None
    new_ticketing_ui: bool = msgspec.field(name="newTicketingUI")
    is_user_system_admin: bool
    product_name: str | None = None
    picture_url: str | None = None
    open_id_realm_id: str | None = None


class Tokens(Record, kw_only=True):
    """``TokenOutputDto``."""

    access_token: str | None = None
    refresh_token: str | None = None
    access_token_expire_on: str
    refresh_token_expire_on: str


class Failure(Record, kw_only=True):
    """``ErrorInfo``."""

    code: int
    message: str | None = None
    details: str | None = None
    stack_strace: str | None = None
    sub_errors: list[str] | None = None
