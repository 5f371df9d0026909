"""The keys of BMS's documented answers, each with its kind: a mapping may give any of them a place in Passportal.

Certainty: names and kinds are from the vendor's OpenAPI document [S]; only some were seen in real answers. So a value
of another kind than the documented one is taken as the text that it is. Lists and objects are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class KeyKind(StrEnum):
    """The documented kind of a key, which decides the text that is made of its value."""

    TEXT = "text"
    NUMBER = "number"
    YES_NO = "yes_no"
    DAY = "day"


Keys = Mapping[str, KeyKind]
"""JSON key → its kind."""


def _keys(**of_kind: str) -> dict[str, KeyKind]:
    """Return the keys of each kind, given as words."""
    return {key: KeyKind(kind) for kind, words in of_kind.items() for key in words.split()}


ACCOUNT: Keys = _keys(
    text=(
        "accountCode accountType accountName businessType serviceType accountManagerUserName currencyName "
        "salesTaxItemName website description className tenantName"
    ),
    number=(
        "id createdBy modifiedBy parentId accountTypeId businessTypeId serviceTypeId accountManagerId "
        "currencyId creditLimit netDays salesTaxItemId classId"
    ),
    yes_no="isActive isBilling",
    day="createdOn modifiedOn acquiredDate",
)
"""The keys of an account in its list."""

EMPLOYEE: Keys = _keys(
    text="firstName lastName emailAddress username jobTitle",
    number="id",
    yes_no="isActive",
)
"""The keys of an employee in the list."""

LOCATION: Keys = _keys(
    text="locationName",
    number="id createdBy modifiedBy timeZoneId dateFormatId timeFormatId",
    yes_no="isMain isActive",
    day="createdOn modifiedOn",
)
"""The keys of a location in the list of accounts."""

CONTACT: Keys = _keys(
    text="accountName locationName firstName lastName jobTitle",
    number="id createdBy modifiedBy accountId locationId",
    yes_no="isPoc isActive isBillable canRecieveInvoices",
    day="createdOn modifiedOn effectiveDate",
)
"""The keys of a contact in the list."""

ASSET: Keys = _keys(
    text="categoryName locationName assetName serialNumber machineGroupId ipAddress contactName accountName",
    number="id categoryId contactId accountId",
    yes_no="isActive",
)
"""The keys of an asset in the list."""

ASSET_DETAIL: Keys = _keys(
    text=(
        "name accountName accountLocation contactFirstName contactLastName category brand serialNumber "
        "businessImpact state locationInfo description barCode assetTag webRemoteUrl vendor modelNumber "
        "machineGroupId ipAddress subnetMask defaultGateway dnsServers dhcpServer secondaryWinsServer "
        "connectionGatewayIp osType osInfo majorVersion minorVersion macAddress loginName lastLoginname "
        "currentUser productName machineVersion motherboardManufacturer motherboardProductCode "
        "motherboardSerialNumber motherboardVersion chassisAssetTag chassisManufacturer chassisSerialNumber "
        "chassisType chassisVersion busSpeed manufacturer maxMemorySize maxMemorySlots primaryWinsServer "
        "createdBy modifiedBy contactEmailAddress contactPhoneNumber agentId"
    ),
    number=(
        "accountId accountLocationId contactId categoryId brandId businessImpactId stateId vendorId "
        "motherboardManufacturerId chassisManufacturerId manufacturerId purchaseCost createdById modifiedById "
        "integrationTypeId"
    ),
    yes_no="isActive dhcpEnabled winsEnabled",
    day=(
        "warrantyExpirationDate expirationDate acquisitionDate firstCheckIn lastCheckIn lastReboot createdOn modifiedOn"
    ),
)
"""The keys of an asset in the answer of its detail call, without its id."""
