"""A user's own Dagster assets depend on ours and read what the sync stored: the example of the documentation runs."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import dagster as dg
import pytest

from bms_pipeline import frames
from bms_pipeline.core.errors import WarehouseError
from bms_pipeline.defs.reading import ReadOnlyHome
from bms_pipeline_tests.defs.conftest import Pipeline

EXAMPLE = Path(__file__).parents[2] / "docs" / "downstream.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """``docs/downstream.py``, which is in no package."""
    spec = importlib.util.spec_from_file_location("downstream", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance of the test's own; its folder takes what assets return."""
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral(tempdir=folder) as found:
        yield found


def test_assets_of_the_users_own_read_what_the_sync_stored(
    example: ModuleType, finished: Pipeline, instance: dg.DagsterInstance
) -> None:
    tenant = ReadOnlyHome(home=str(finished.home))
    assets = [example.assets_by_client, example.oldest_decisions]
    result = dg.materialize(assets, resources={"tenant": tenant}, instance=instance)
    assert result.success
    counted = result.output_for_node("assets_by_client")
    stored = frames.records("assets", finished.home)
    assert counted.to_numpy().sum() == stored["client"].notna().sum() > 0
    assert "in sync" in counted.columns
    assert len(result.output_for_node("oldest_decisions")) > 0


def test_without_configuration_it_reads_the_home_of_the_settings(finished: Pipeline) -> None:
    tenant = ReadOnlyHome()
    assert len(tenant.frame("matches")) == len(frames.matches(finished.home)) > 0


def test_they_are_below_ours_in_the_lineage(example: ModuleType, definitions: dg.Definitions) -> None:
    own = [asset.key for asset in (example.assets_by_client, example.oldest_decisions)]
    graph = dg.Definitions.merge(definitions, example.defs).resolve_asset_graph()
    parents = {key.to_user_string(): graph.get(key).parent_keys for key in own}
    assert parents == {
        "assets_by_client": {dg.AssetKey("loaded_assets")},
        "oldest_decisions": {dg.AssetKey("loaded_clients")},
    }
    assert {dg.AssetKey("loaded_assets"), dg.AssetKey("loaded_clients")} <= graph.materializable_asset_keys


def test_a_missing_home_fails_the_users_asset_with_our_next_step(
    example: ModuleType, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    tenant = ReadOnlyHome(home=str(tmp_path / "misspelt"))
    with pytest.raises(WarehouseError, match="does not exist"):
        dg.materialize([example.assets_by_client], resources={"tenant": tenant}, instance=instance)
    assert not (tmp_path / "misspelt").exists()
