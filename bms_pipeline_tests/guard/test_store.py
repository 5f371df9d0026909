"""The guard's files after a power cut, a flipped bit and a wrong clock: nobody gets in by them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from bms_pipeline.errors import SettingsError
from bms_pipeline.guard.store import Store


@pytest.mark.parametrize("content", [b"", bytes(16), bytes(32), bytes(64)])
def test_a_key_that_is_cut_or_holds_only_zeros_signs_nothing_and_is_named(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    signed = store.sign("session", "somebody")
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SettingsError, match="is damaged") as refused:
        store.is_signed("session", "somebody", signed)
    assert "Remove" in refused.value.next_step
    (tmp_path / "key").unlink()
    assert not store.is_signed("session", "somebody", signed), "everybody signs in again"


def test_a_code_that_was_made_while_the_clock_was_a_year_ahead_opens_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=365), tick=True):
        code = store.new_code()
        made = datetime.now(UTC).timestamp()
    (file,) = (tmp_path / "codes").iterdir()
    os.utime(file, (made, made))
    assert not store.take_code(code)
    assert store.take_code(store.new_code())
