"""The detail of an asset, one call each in BMS: it is derived from its list row, and changes with it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from random import Random
from zlib import crc32

import msgspec

from bms_sandbox.population.draft import EPOCH
from bms_sandbox.records import Asset, AssetDetail, AssetStatus, DiskVolume

_BRANDS = ("Dell", "HP", "Lenovo", "Microsoft", "Apple", "Cisco", "Brother")
_SYSTEMS = (
    ("Windows", "Windows 11 Pro", "10", "22631"),
    ("Windows", "Windows Server 2022", "10", "20348"),
    ("macOS", "macOS 15", "15", "1"),
    ("Linux", "Debian GNU/Linux 13", "13", "0"),
)


def asset_detail(row: bytes, location_ids: Mapping[str | None, int]) -> AssetDetail:
    """Return the detail of the asset with this list row; ``location_ids``: those of its client's locations, by name."""
    asset = msgspec.json.decode(row, type=Asset)
    rng = Random(asset.id)
    brand_id = rng.randrange(len(_BRANDS))
    os_type, os_info, major, minor = rng.choice(_SYSTEMS)
    # Only from the fields lists are read for, so a changed detail always shows in a changed row.
    build = crc32(
        repr((
            asset.account_id, asset.asset_name, asset.category_name, asset.location_name, asset.serial_number,
            asset.ip_address, asset.contact_name, asset.is_active,
        )).encode()
    )  # fmt: skip
    acquired = EPOCH - timedelta(days=rng.randrange(1, 2000))
    first, _, last = (asset.contact_name or "").rpartition(" ")
    total = rng.choice((238_000, 476_000, 953_000))
    free = rng.randrange(total)
    seldom = rng.random() < 0.2
    return AssetDetail(
        id=asset.id,
        name=asset.asset_name,
        account_id=asset.account_id,
        account_name=asset.account_name,
        account_location_id=location_ids.get(asset.location_name),
        account_location=asset.location_name,
        contact_id=asset.contact_id or None,
        contact_first_name=first or None,
        contact_last_name=last or None,
        category_id=asset.category_id,
        category=asset.category_name,
        brand_id=brand_id,
        brand=_BRANDS[brand_id],
        serial_number=asset.serial_number,
        state_id=1,
        state="In Use",
        description=None if seldom else f"Asset {asset.id}",
        asset_tag=f"T-{asset.id:06d}",
        is_active=asset.is_active,
        model_number=f"{_BRANDS[brand_id][:2].upper()}-{rng.randrange(100, 999)}",
        machine_group_id=asset.machine_group_id,
        ip_address=asset.ip_address,
        subnet_mask="255.255.255.0",
        default_gateway=None if seldom else "10.0.0.1",
        dns_servers="10.0.0.1, 10.0.0.2",
        dhcp_enabled=rng.random() < 0.7,
        wins_enabled=False,
        os_type=os_type,
        os_info=f"{os_info} (build {build % 10**6:06d})",
        major_version=major,
        minor_version=minor,
        mac_address=":".join(f"{rng.randrange(256):02X}" for _ in range(6)),
        product_name=_BRANDS[brand_id],
        purchase_cost=round(rng.uniform(200, 4000), 2),
        acquisition_date=acquired.isoformat(),
        warranty_expiration_date=None if seldom else (acquired + timedelta(days=1095)).isoformat(),
        last_check_in=EPOCH.isoformat(),
        created_on=acquired.isoformat(),
        modified_on=EPOCH.isoformat(),
        disk_volumes=[
            DiskVolume(
                drive="C:",
                type="Fixed",
                format="NTFS",
                free_m_bytes=free,
                used_m_bytes=total - free,
                total_m_bytes=total,
            )
        ],
        statuses=[AssetStatus(name="Online", color="green")],
    )
