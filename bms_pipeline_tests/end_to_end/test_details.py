"""Asset details from the user's side: read in the background, told by status, completed by the next sync."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bms_pipeline_tests.running import Home, running_home

pytestmark = pytest.mark.soak

DETAILS = "GET /v2/servicedesk/hardwareasset/{assetId}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_home(tmp_path_factory.mktemp("details"), seed=4) as home:
        yield home


def test_details_are_read_after_the_initial_sync_and_complete_what_is_in_passportal(home: Home) -> None:
    early = home.call("details", "--json")
    assert json.loads(early.stdout)["read"] == 0, "nothing is in Passportal yet"
    assert home.call("sync", "--create-unmatched").returncode == 0
    assert DETAILS not in home.sandbox.calls()

    some = home.call("details", "--most", "40", "--json")
    assert (some.returncode, json.loads(some.stdout)["read"]) == (0, 40), some.stderr
    wanted = 40 + json.loads(some.stdout)["waiting"]
    assert wanted > 100
    rest = home.call("details")
    assert f"Read the details of {wanted - 40} assets" in rest.stdout
    assert "0 are waiting: nothing waits." in rest.stdout
    assert home.sandbox.calls()[DETAILS] == wanted
    shown = home.status()["details"]
    assert (shown["unlanded"], shown["waiting"], shown["read"]) == (wanted, 0, 0)

    synced = home.call("sync", "--json")
    assert synced.returncode == 0, synced.stderr
    status = json.loads(synced.stdout)
    assert status["entities"]["assets"]["failed"] == 0
    assert status["details"]["read"] == status["details"]["wanted"] == wanted
    assert home.warehouse("SELECT DISTINCT reason FROM sync.journal WHERE operation = 'update'") == [
        ("details_completed",)
    ]
    assert home.passportal("SELECT count(*) FROM records WHERE details['Asset Tag'] LIKE 'T-0%'") == [(wanted,)]
    assert home.call("preview").returncode == 0, "nothing is to do any more"


def test_only_changed_assets_are_asked_for_again_and_explain_tells_when(home: Home) -> None:
    changes = home.sandbox.mutate(7)["assets"]
    assert home.call("sync").returncode == 0
    before = home.sandbox.calls()[DETAILS]
    read = json.loads(home.call("details", "--json").stdout)["read"]
    assert 0 < read <= sum(len(each) for each in changes.values())
    assert home.sandbox.calls()[DETAILS] == before + read
    ((bms_id,),) = home.warehouse("SELECT min(bms_id) FROM bms.assets WHERE details_read_at IS NOT NULL")
    assert "Its details were read from BMS" in home.call("explain", "assets", str(bms_id)).stdout
