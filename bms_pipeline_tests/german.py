"""A home folder of a tenant in German: two templates of assets, labels and words of its own, read and planned once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bms_pipeline_tests.running import Home
from bms_sandbox.process import running_passportal, running_sandbox

CLIENT = 114
"""The client of the small tenant whose records these tests go on with: it has locations, contacts and assets."""


@contextmanager
def german_home(folder: Path) -> Iterator[Home]:
    """A home that synced nothing so far, for one client alone, so that its runs are short."""
    with (
        running_sandbox("small", 1, folder / "tenant", {"hourly_limit": None}) as sandbox,
        running_passportal(folder / "passportal", folder / "tenant", language="de") as service,
    ):
        home = Home(folder / "home", sandbox, service=service, keeps_open=False)
        env_file = home.folder / ".env"
        env_file.touch(mode=0o600)
        ours = {name: text for name, text in home.environment.items() if name.startswith(("BMS_", "PASSPORTAL_"))}
        env_file.write_text("".join(f"{name}={text}\n" for name, text in ours.items()))
        made = home.call("settings", "set", f"clients={CLIENT}")
        assert made.returncode == 0, made.stderr
        yield home
