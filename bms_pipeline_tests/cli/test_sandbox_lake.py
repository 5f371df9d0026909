"""A sandbox keeps away from a real tenant's lake."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bms_pipeline_tests.running import called

LAKE = {"BMS_PIPELINE_STATE": "postgresql://pipeline:canary@127.0.0.1:1/pipeline", "BMS_PIPELINE_LAKE": "s3://tenants/msp",
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "canary"}  # fmt: skip


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_sandbox_is_refused_where_its_records_would_land_in_a_lake(tmp_path: Path, place: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    if place == "environment":
        environment |= LAKE
    else:
        env_file = tmp_path / ".env"
        env_file.write_text("".join(f"{name}={value}\n" for name, value in LAKE.items()))
        env_file.chmod(0o600)
    refused = called("sandbox", "run", "--size", "small", "--", "false", environment=environment, folder=tmp_path)
    assert refused.returncode == 1
    assert "BMS_PIPELINE_LAKE" in refused.stderr
    assert "canary" not in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ([".env"] if place == ".env" else [])
