"""Reading one client alone, from a BMS on a real socket: what it costs, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from pydantic import SecretStr

from bms_pipeline.bms.client import BmsClient, Page
from bms_pipeline.bms.sweep.client_pages import ClientPages
from bms_pipeline.bms.sweep.manifest import Manifest, latest_complete, sweeps
from bms_pipeline.bms.sweep.sweeper import sweep, sweeps_folder
from bms_pipeline.core.entities import ACCOUNTS, ASSETS_LIST, CONTACTS_LIST, ListCall
from bms_pipeline.core.errors import AnswerUnreadable, FilterIgnored, RequestRefused, ServiceUnreachable
from bms_pipeline.core.settings import Settings
from bms_pipeline_tests.stranger import bms as vendor
from bms_pipeline_tests.stranger.bms import Bms, BmsHabits, Record
from bms_pipeline_tests.stranger.serving import serving

ONE, OTHER = 1, 12
Open = Callable[..., tuple[Bms, BmsClient]]


def records(assets: int = 100, contacts: int = 5) -> dict[str, list[Record]]:
    """Two accounts, of which the first has records alternating with those of the other."""
    stamp = {"CreatedOn": "2025-01-01T00:00:00", "ModifiedOn": "2025-01-01T00:00:00"}
    inside = [ONE, OTHER]
    return {
        "accounts": [
            {"Id": n, "AccountName": f"Client {n}", "AccountTypeId": 11, "IsActive": True, "Locations": [], **stamp}
            for n in inside
        ],
        "contacts": [
            {"Id": n, "AccountId": inside[n % 2], "FirstName": "Ann", "LastName": str(n), "IsActive": True, **stamp}
            for n in range(contacts * 2)
        ],
        "employees": [],
        "assets": [
            {"Id": n, "AccountId": inside[n % 2], "AssetName": f"PC {n}", "IsActive": True} for n in range(assets * 2)
        ],
    }


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open a BMS with these habits, and a client of it that does not sleep."""
    with ExitStack() as running:

        def start(held: dict[str, list[Record]] | None = None, **habits: str) -> tuple[Bms, BmsClient]:
            bms = Bms(held or records(), replace(BmsHabits(), **habits))  # type: ignore[arg-type]
            url = running.enter_context(serving(bms.answer))
            settings = Settings(
                _env_file=None, bms_url=url, bms_api_url=url, bms_tenant=vendor.TENANT, bms_username=vendor.USERNAME,
                bms_password=SecretStr(vendor.PASSWORD), bms_pipeline_home=tmp_path / "home",
            )  # type: ignore[call-arg]  # fmt: skip
            return bms, running.enter_context(BmsClient(settings, sleep=lambda _: None))

        yield start


def read(client: BmsClient, list_call: ListCall, folder: Path, account: int = ONE) -> Manifest:
    return sweep(ClientPages(client, account), list_call, folder)


@pytest.mark.parametrize(
    ("list_call", "held", "calls"),
    [(ACCOUNTS, 1, 1), (CONTACTS_LIST, 5, 3), (ASSETS_LIST, 100, 3)],
    ids=lambda each: getattr(each, "name", None),
)
def test_a_client_of_a_hundred_assets_is_proved_in_seven_calls(
    opened: Open, tmp_path: Path, list_call: ListCall, held: int, calls: int
) -> None:
    bms, client = opened()
    manifest = read(client, list_call, tmp_path)
    assert (manifest.mode, manifest.client, manifest.complete) == ("client", ONE, True)
    assert (manifest.records, manifest.calls_made) == (held, calls)
    assert len([call for call in bms.calls if list_call.path in call]) == calls


@pytest.mark.parametrize("size", [0, 1, 99, 101, 250, 700])
@pytest.mark.parametrize("list_call", [CONTACTS_LIST, ASSETS_LIST], ids=lambda each: each.name)
def test_a_client_of_any_size_is_read_to_a_provable_end(
    opened: Open, tmp_path: Path, list_call: ListCall, size: int
) -> None:
    _, client = opened(records(size, size))
    manifest = read(client, list_call, tmp_path)
    assert (manifest.complete, manifest.records) == (True, size)


@pytest.mark.parametrize("habit", ["ignored", "as text"])
@pytest.mark.parametrize("list_call", [CONTACTS_LIST, ASSETS_LIST], ids=lambda each: each.name)
def test_rows_of_other_accounts_are_refused_by_name_at_once_and_leave_nothing(
    opened: Open, tmp_path: Path, list_call: ListCall, habit: str
) -> None:
    """Also where the service takes the number for a text: 1 is then found in 12."""
    bms, client = opened(records(2000, 2000), accounts=habit)
    with pytest.raises(FilterIgnored, match=f"{list_call.name} of client 1 and sent those of other clients"):
        read(client, list_call, tmp_path)
    assert len([call for call in bms.calls if list_call.path in call]) == 1, "the first page tells"
    assert sweeps(sweeps_folder(tmp_path, list_call, ONE)) == []


def test_a_filter_that_is_refused_is_never_left_out(opened: Open, tmp_path: Path) -> None:
    bms, client = opened(accounts="refused 400")
    with pytest.raises(RequestRefused):
        read(client, CONTACTS_LIST, tmp_path)
    assert all("filter.accountid=1" in call for call in bms.calls if CONTACTS_LIST.path in call)


@pytest.mark.parametrize(
    "habits", [{"sort": "refused 400"}, {"modified": "with zone"}, {"single": "enveloped"}, {"clamp": 7}]
)
def test_other_habits_of_a_bms_do_not_disturb_it(opened: Open, tmp_path: Path, habits: dict[str, str]) -> None:
    _, client = opened(**habits)
    found = {list_call.name: read(client, list_call, tmp_path) for list_call in (ACCOUNTS, CONTACTS_LIST, ASSETS_LIST)}
    assert {name: (manifest.complete, manifest.records) for name, manifest in found.items()} == {
        "accounts": (True, 1),
        "contacts": (True, 5),
        "assets": (True, 100),
    }


def test_an_account_of_another_id_is_refused(opened: Open, tmp_path: Path) -> None:
    _, client = opened(single="other id")
    with pytest.raises(AnswerUnreadable, match="record 1 of accounts with record 2"):
        read(client, ACCOUNTS, tmp_path)


class Stopping:
    """Passes pages on, until one too many."""

    def __init__(self, client: BmsClient, after: int) -> None:
        self.client, self.left = client, after

    def page(self, list_call: ListCall, number: int, filters: object = None, size: int = 100) -> Page:
        self.left -= 1
        if self.left < 0:
            raise ServiceUnreachable("gone")
        return self.client.page(list_call, number, filters, size)  # type: ignore[arg-type]

    def single(self, list_call: ListCall, bms_id: int) -> Page:
        return self.client.single(list_call, bms_id)


@pytest.mark.parametrize("list_call", [CONTACTS_LIST, ASSETS_LIST], ids=lambda each: each.name)
def test_a_client_read_in_the_middle_of_an_interrupted_full_sweep_loses_neither(
    opened: Open, tmp_path: Path, list_call: ListCall
) -> None:
    _, client = opened(records(700, 700))
    with pytest.raises(ServiceUnreachable):
        sweep(Stopping(client, 3), list_call, tmp_path)
    ((begun, _),) = sweeps(sweeps_folder(tmp_path, list_call))
    with pytest.raises(ServiceUnreachable):
        sweep(ClientPages(Stopping(client, 2), ONE), list_call, tmp_path)
    other = read(client, list_call, tmp_path, OTHER)
    alone = read(client, list_call, tmp_path)
    full = sweep(client, list_call, tmp_path)
    assert (full.sweep, full.mode, full.complete, full.records) == (begun.name, "full", True, 1400)
    assert (alone.records, other.records) == (700, 700)
    assert alone.calls_made < full.calls_made, "it went on where it was stopped"
    assert latest_complete(sweeps_folder(tmp_path, list_call)) == begun
    assert latest_complete(sweeps_folder(tmp_path, list_call, ONE)) is None, "it is never taken for a full one"


def test_a_client_is_never_continued_as_another(opened: Open, tmp_path: Path) -> None:
    _, client = opened(records(700, 700))
    with pytest.raises(ServiceUnreachable):
        sweep(ClientPages(Stopping(client, 2), ONE), CONTACTS_LIST, tmp_path)
    ((home, manifest),) = sweeps(sweeps_folder(tmp_path, CONTACTS_LIST, ONE))
    manifest.client = OTHER  # as if somebody had moved its folder
    (home / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    assert read(client, CONTACTS_LIST, tmp_path).sweep != home.name
