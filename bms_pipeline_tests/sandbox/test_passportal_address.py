"""The sandbox's Passportal keeps its address: a home folder knows Passportal by it."""

from __future__ import annotations

from pathlib import Path

from bms_sandbox.process import running_passportal
from bms_sandbox.tenant import generate


def test_a_second_run_on_the_same_folder_has_the_address_of_the_first(tmp_path: Path) -> None:
    generate("small", 1).save(tmp_path / "tenant")
    with running_passportal(tmp_path / "passportal", tmp_path / "tenant") as first:
        address = first.url
    with running_passportal(tmp_path / "passportal", tmp_path / "tenant") as second:
        assert second.url == address
