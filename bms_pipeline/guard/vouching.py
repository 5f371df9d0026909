"""Vouchers: proof of a Dagster launch by a person.

Dagster's own web server has no log-in: anybody who reaches its port can launch any job with any configuration. So a
launch that approves or decides needs a voucher. This is a run tag signed with the guard's key, and only the gate in
front of Dagster's pages adds it. It is valid for one job with one configuration, once, for a day.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from bms_pipeline.core.errors import ApprovalRefused
from bms_pipeline.core.settings import Settings
from bms_pipeline.guard.store import VOUCHER_SECONDS, Store

TAG = "bms_pipeline/vouched"
"""The run tag for a voucher."""
_PURPOSE = "launch"


class Voucher(msgspec.Struct, frozen=True):
    """The person and the time of a launch; ``nonce`` can be used once."""

    by: str
    at: float
    nonce: str


@dataclass(frozen=True)
class Launch:
    """A launch as its run sees it: job, configuration and tags."""

    job: str
    config: Mapping[str, Any]
    tags: Mapping[str, str]


def vouch(store: Store, job: str, config: Mapping[str, Any], by: str) -> str:
    """Return the voucher tag for a launch of ``job`` with ``config`` by a signed-in person."""
    voucher = msgspec.json.encode(Voucher(by, time.time(), secrets.token_urlsafe(16)))
    text = base64.urlsafe_b64encode(voucher).decode()
    return f"{text}.{store.sign(_PURPOSE, _signed(text, job, config))}"


@contextlib.contextmanager
def vouched(settings: Settings, launch: Launch | None, instead: str) -> Iterator[str]:
    """Do what only a person may do. Yields the person's name, empty if unknown.

    Raises ``ApprovalRefused`` if ``launch`` has no valid voucher. ``instead`` names what else the person can do. A
    retry of a run has the same voucher, which stays valid until the allowed action has succeeded.
    """
    if settings.bms_pipeline_trusted_proxy:
        yield ""
        return
    store = Store(settings.guard_folder)
    voucher = _checked(store, launch, instead)
    with store.using_once(voucher.nonce):
        yield voucher.by


def _checked(store: Store, launch: Launch | None, instead: str) -> Voucher:
    text, _, signature = (launch.tags.get(TAG, "") if launch else "").partition(".")
    if launch is None or not text or not store.is_signed(_PURPOSE, _signed(text, launch.job, launch.config), signature):
        raise ApprovalRefused(
            "This launch is no approval: it did not come through the log-in that guards Dagster's pages, or its"
            " configuration was changed since.",
            f"Launch it from the pages that `bms-pipeline dev` or `bms-pipeline dagster-ui` serves. {instead}",
        )
    try:
        voucher = msgspec.json.decode(base64.urlsafe_b64decode(text), type=Voucher)
    except (msgspec.MsgspecError, binascii.Error):
        raise ApprovalRefused("This launch has a voucher that cannot be read.", "Launch it again.") from None
    if abs(time.time() - voucher.at) > VOUCHER_SECONDS:  # a voucher from the future would not expire for as long
        raise ApprovalRefused("This launch is older than a day and no longer an approval.", "Launch it again.")
    return voucher


def _signed(text: str, job: str, config: Mapping[str, Any]) -> str:
    return f"{text}\n{job}\n{json.dumps(config, sort_keys=True, default=str)}"
