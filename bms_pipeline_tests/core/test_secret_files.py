"""Secrets as Docker, Kubernetes, systemd and people lay them down: one file each, or a folder of files."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from bms_pipeline.core import settings as settings_module
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.settings import (
    SECRETS,
    Settings,
    read_schedule_settings,
    read_settings,
    set_by_environment,
    store_settings,
)

CANARY = "canary-5e1f"


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("BMS_", "PASSPORTAL_", "NOTICE_")):
            monkeypatch.delenv(name)
    settings_module._warn.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    made.mkdir()
    return made


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine may enter."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def written(file: Path, content: str) -> Path:
    file.write_text(content)
    file.chmod(0o600)
    return file


def secret(settings: Settings, name: str) -> str:
    value: str = getattr(settings, name.lower()).get_secret_value()
    return value


# --------------------------------------------------------------------------------------------------------- the folder


@pytest.mark.parametrize("name", sorted(SECRETS))
@pytest.mark.parametrize("spell", [str.upper, str.lower])
@pytest.mark.parametrize("content", ["pa${HOME} #x", "pa${HOME} #x\n", "\ufeffpa${HOME} #x\r\n"])
def test_a_folder_holds_each_secret_under_its_name(
    folder: Path, tmp_path: Path, name: str, spell: object, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(spell)
    written(folder / spell(name), content)
    # One of the state's two settings without the other is refused.
    lake = "BMS_PIPELINE_LAKE=lake\n" if name == "BMS_PIPELINE_STATE" else ""
    env_file = written(tmp_path / ".env", f"BMS_PIPELINE_SECRETS=secrets\n{lake}")
    assert secret(read_settings(env_file), name) == "pa${HOME} #x"
    monkeypatch.setenv("BMS_PIPELINE_SECRETS", str(folder))
    monkeypatch.setenv("BMS_PIPELINE_LAKE", "lake" if lake else "")
    assert secret(read_settings(None), name) == "pa${HOME} #x"


def test_a_folder_may_hold_every_other_setting_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMS_PIPELINE_SECRETS", str(folder))
    for name, text in (("BMS_USERNAME", "api"), ("PASSPORTAL_KEY_ID", "key"), ("BMS_PIPELINE_SYNC_CRON", "5 * * * *")):
        written(folder / name, text + "\n")
    read = read_settings(None)
    assert (read.bms_username, read.passportal_key_id) == ("api", "key")
    assert read_schedule_settings(None).bms_pipeline_sync_cron == "5 * * * *"


def test_what_else_lies_in_the_folder_stays_unread(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BMS_PIPELINE_SECRETS", str(folder))
    (folder / "kubernetes.io").mkdir()
    (folder / "postgres_password").write_bytes(b"\xff")
    (folder / "gone").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    assert read_settings(None).bms_password.get_secret_value() == ""
    assert not caplog.records


def test_a_secret_that_kubernetes_renews_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMS_PIPELINE_SECRETS", str(folder))
    (folder / "BMS_PASSWORD").symlink_to("..data/BMS_PASSWORD")
    for version in ("one", "two"):
        (folder / f"..{version}").mkdir()
        written(folder / f"..{version}" / "BMS_PASSWORD", version)
        (folder / "..new").symlink_to(f"..{version}")
        (folder / "..new").replace(folder / "..data")
        assert read_settings(None).bms_password.get_secret_value() == version


def test_the_folder_of_the_environment_goes_before_that_of_the_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(folder / "BMS_PASSWORD", "from the environment's")
    env_file = written(tmp_path / ".env", "BMS_PIPELINE_SECRETS=not there\nBMS_PASSWORD=written\n")
    monkeypatch.setenv("BMS_PIPELINE_SECRETS", str(folder))
    assert read_settings(env_file).bms_password.get_secret_value() == "from the environment's"


# ---------------------------------------------------------------------------------------------- what is said twice


@pytest.mark.parametrize("where", ["environment", ".env"])
@pytest.mark.parametrize(("first", "second"), [("value", "file"), ("value", "folder"), ("file", "folder")])
def test_a_secret_that_is_given_twice_is_refused_by_both_names(
    folder: Path, tmp_path: Path, where: str, first: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "file", CANARY)
    written(folder / "BMS_PASSWORD", CANARY)
    named = {
        "value": ("BMS_PASSWORD", CANARY),
        "file": ("BMS_PASSWORD_FILE", str(file)),
        "folder": ("BMS_PIPELINE_SECRETS", str(folder)),
    }
    given = dict(named[way] for way in (first, second))
    env_file = written(tmp_path / ".env", "")
    if where == "environment":
        for name, text in given.items():
            monkeypatch.setenv(name, text)
    else:
        written(env_file, "".join(f"{name}={text}\n" for name, text in given.items()))
    with pytest.raises(SettingsError) as refused:
        read_settings(env_file)
    assert "are both set" in refused.value.message
    assert "BMS_PASSWORD" in refused.value.message
    assert named[second][0] in refused.value.message
    assert CANARY not in refused.value.message


def test_two_files_of_one_name_are_refused_by_both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMS_PIPELINE_SECRETS", str(folder))
    both = [written(folder / name, CANARY) for name in ("BMS_PASSWORD", "bms_password")]
    with pytest.raises(SettingsError) as refused:
        read_settings(None)
    assert all(str(file) in refused.value.message for file in both)


# ------------------------------------------------------------------------------------------ what cannot be a secret


@pytest.mark.parametrize("way", ["BMS_PASSWORD_FILE", "BMS_PIPELINE_SECRETS"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\n", CANARY.encode() + b"\nmore", CANARY.encode() + b"\n\n", CANARY.encode() + b"\xff", b"c" * 70_000,
     CANARY.encode() + b"\x00", "a folder", "a pipe", "a link that leads nowhere"],
)  # fmt: skip
def test_no_error_shows_any_part_of_a_secret(
    folder: Path, way: str, content: bytes | str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = folder / "BMS_PASSWORD"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content == "a folder":
        file.mkdir()
    elif content == "a pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("nowhere")
    monkeypatch.setenv(way, str(folder if way == "BMS_PIPELINE_SECRETS" else file))
    with pytest.raises(SettingsError) as refused:
        read_settings(None)
    message = refused.value.message
    assert way in message
    assert "BMS_PASSWORD" in message
    assert str(file) in message
    shown = "".join(traceback.format_exception(refused.value)) + repr(refused.value) + caplog.text
    assert "canary" not in shown
    assert "ccc" not in shown


@pytest.mark.parametrize("kind", ["nothing", "a file"])
def test_a_folder_that_is_none_is_named_with_its_setting(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "a file":
        (tmp_path / "secrets").touch()
    monkeypatch.setenv("BMS_PIPELINE_SECRETS", str(tmp_path / "secrets"))
    with pytest.raises(SettingsError, match="BMS_PIPELINE_SECRETS") as refused:
        read_settings(None)
    assert str(tmp_path / "secrets") in refused.value.message


def test_a_secret_from_a_file_shows_in_no_repr_and_no_log(
    folder: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("BMS_PIPELINE_SECRETS", str(folder))
    for name in SECRETS - {"BMS_PASSWORD"}:
        written(folder / name, f"{CANARY}-{name}")
    (open_folder / "password").write_text(CANARY)
    monkeypatch.setenv("BMS_PIPELINE_LAKE", "lake")
    monkeypatch.setenv("BMS_PASSWORD_FILE", str(open_folder / "password"))
    read = read_settings(None)
    for name in SECRETS:
        assert secret(read, name).startswith(CANARY)
    assert CANARY not in repr(read) + str(read) + str(read.model_dump()) + read.model_dump_json() + caplog.text


# -------------------------------------------------------------------------------------------- files that others read


def readable_by_others(file: Path, caplog: pytest.LogCaptureFixture) -> bool:
    """Read the settings twice and return whether the file was logged, which happens once at most."""
    caplog.clear()
    for _ in range(2):
        read_settings(None)
    assert len(caplog.records) <= 1
    return f"other users can read {file}. Run: chmod 600" in caplog.text


@pytest.mark.parametrize(
    ("mode", "of_folder", "warned"),
    [(0o644, 0o755, True), (0o604, 0o711, True), (0o640, 0o755, False), (0o600, 0o755, False), (0o644, 0o750, False)],
)
@pytest.mark.parametrize("way", ["BMS_PASSWORD_FILE", "BMS_PIPELINE_SECRETS"])
def test_a_file_that_other_users_can_reach_is_logged(
    open_folder: Path, way: str, mode: int, of_folder: int, warned: bool, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    file = written(open_folder / "BMS_PASSWORD", CANARY)
    file.chmod(mode)
    open_folder.chmod(of_folder)
    monkeypatch.setenv(way, str(open_folder if way == "BMS_PIPELINE_SECRETS" else file))
    assert readable_by_others(file, caplog) == warned
    assert CANARY not in caplog.text


def test_what_is_no_secret_may_be_read_by_others(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (open_folder / "BMS_TENANT").write_text("Us")
    (open_folder / "BMS_TENANT").chmod(0o644)
    monkeypatch.setenv("BMS_PIPELINE_SECRETS", str(open_folder))
    read_settings(None)
    assert not caplog.records


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no file system in memory here")
def test_a_file_in_memory_is_a_platforms_and_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        Path(name).chmod(0o755)
        file = Path(name) / "BMS_PASSWORD"
        file.write_text(CANARY)
        file.chmod(0o644)
        monkeypatch.setenv("BMS_PASSWORD_FILE", str(file))
        assert not readable_by_others(file, caplog)


# ------------------------------------------------------------------------------------------------ the set-up page


def test_the_set_up_page_cannot_change_what_the_folder_holds(folder: Path, tmp_path: Path) -> None:
    """A secret belongs to its address: another address never gets the one that is in the folder."""
    written(folder / "BMS_PASSWORD", CANARY)
    env_file = written(tmp_path / ".env", "BMS_PIPELINE_SECRETS=secrets\nBMS_URL=https://old.example\n")
    settings = read_settings(env_file)
    assert set_by_environment("BMS_PASSWORD", settings)
    assert not set_by_environment("BMS_MFA_SECRET", settings)
    before = env_file.read_bytes()
    for changes in ({"BMS_URL": "https://new.example"}, {"BMS_PASSWORD": "other"}):
        with pytest.raises(SettingsError, match="BMS_PASSWORD"):
            store_settings(env_file, changes)
        assert env_file.read_bytes() == before
