"""Clients of a tenant of ordinary size: their bundles have no original, and replay to the same reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.support.manifest import MANIFEST
from bms_pipeline.support.program_words import program_words
from bms_pipeline.warehouse import names
from bms_pipeline_tests.running import Home, running_home
from bms_pipeline_tests.support.bundles import content, made, original_words, replayed, standings

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]
REASONS = ("identical_name", "near_identical_name", "several_in_bms", "several_in_passportal", "waits_for_decision")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A typical tenant after its first preview."""
    with running_home(tmp_path_factory.mktemp("typical"), "typical") as running:
        assert running.call("preview").returncode == 2
        yield running


@pytest.mark.parametrize("reason", REASONS)
def test_one_client_replays_to_the_same_reasons_and_no_original_word_is_in_it(
    home: Home, tmp_path: Path, reason: str
) -> None:
    ((client,),) = home.warehouse(f"SELECT max(bms_id) FROM sync.reconciled_clients WHERE reason = '{reason}'")
    bundle = made(home, f"{reason}.zip", "--client", str(client))
    assert "records have the same disposition and reason" in content(bundle)[MANIFEST]
    public = program_words() | names.SAYS_NOTHING | {"example"}
    words = original_words(home) - public
    for file, text in content(bundle).items():
        assert words.isdisjoint(re.findall(r"[^\W_]{4,}", text.casefold())), file
    found = replayed(home, bundle, tmp_path / "replay")
    wanted = standings(home, f"account_id = {client}")
    assert {record: found.get(record) for record in wanted} == wanted
