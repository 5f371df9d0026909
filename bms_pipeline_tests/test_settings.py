"""Settings as people write them: what stands in ``.env`` is what is used, or one message names line and setting."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from dagster._core.secrets.env_file import get_env_var_dict
from hypothesis import given
from hypothesis import strategies as st

from bms_pipeline.core import settings as settings_module
from bms_pipeline.core.entities import CLIENTS
from bms_pipeline.core.env_file import NOT_IN_A_VALUE
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.settings import (
    BMS_NEEDS,
    PASSPORTAL_NEEDS,
    SECRETS,
    ScheduleSettings,
    Settings,
    check_given,
    missing_settings,
    read_schedule_settings,
    read_settings,
    store_settings,
)
from bms_pipeline.core.vocabulary import OwnVariable
from bms_pipeline.sync.new_folder import make_new_folder
from bms_pipeline_tests.building import account, opened_world
from bms_pipeline_tests.running import called, quick_and_soak

SPECIAL = "'\"\\#$ {}=:-`%!\u00a0“”"
"""What some parser somewhere takes for something else than itself."""

PASSWORDS = st.text(
    st.one_of(st.sampled_from(SPECIAL), st.characters(exclude_categories=["Cs"])), min_size=1, max_size=30
).filter(lambda text: not NOT_IN_A_VALUE.search(text)) | st.sampled_from(
    ["pa${HOME}x", "a${x:-y}b", "$$", "a#b c #d", " lead", "trail ", "it's", "back\\", "\\'", "${BMS_PASSWORD}", "''"]
)


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("BMS_", "PASSPORTAL_", "NOTICE_")):
            monkeypatch.delenv(name)
    settings_module._warn.cache_clear()


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    file = tmp_path / ".env"
    file.touch(mode=0o600)
    return file


@contextmanager
def some_env_file() -> Iterator[Path]:
    """An ``.env`` of its own for each example of a property."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / ".env"


def written(file: Path, content: str | bytes) -> Path:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    file.chmod(0o600)
    return file


def refusal(file: Path) -> str:
    with pytest.raises(SettingsError) as refused:
        read_settings(file)
    return refused.value.message


# ------------------------------------------------------------------------------------------- what is typed is used


@given(PASSWORDS)
def test_what_the_set_up_page_stores_is_what_is_used(password: str) -> None:
    with some_env_file() as file:
        store_settings(file, {"BMS_PASSWORD": password, "BMS_TENANT": password})
        read = read_settings(file)
        assert (read.bms_password.get_secret_value(), read.bms_tenant) == (password, password)


@given(PASSWORDS)
def test_values_mean_the_same_where_dagster_loaded_the_file_into_the_environment(password: str) -> None:
    with some_env_file() as file:
        store_settings(file, {"BMS_TENANT": "${HOME} & Co", "BMS_PASSWORD": password})
        with mock.patch.dict(os.environ, get_env_var_dict(str(file.parent))):  # what `dagster dev` does
            read = read_settings(file)
        assert (read.bms_password.get_secret_value(), read.bms_tenant) == (password, "${HOME} & Co")


@given(st.lists(st.sampled_from(
    ["# ours", "", "OTHER='x\u2028y'", "KEY=\"-----\nBMS_TENANT=inside\n-----\"", "  export A=b # c", "\x0bX=1"]
), max_size=6), st.sampled_from(["\n", "\r\n"]), st.booleans())  # fmt: skip
def test_storing_a_setting_leaves_every_other_line_as_it_is(lines: list[str], end: str, ends: bool) -> None:
    with some_env_file() as file:
        before = end.join(lines) + (end if ends and lines else "")
        written(file, before)
        store_settings(file, {"BMS_TENANT": "Us"})
        after = file.read_bytes().decode()
        assert after.startswith(before)
        assert after.removeprefix(before).strip() == "BMS_TENANT='Us'"


@pytest.mark.parametrize(
    ("line", "password"),
    [
        ("BMS_PASSWORD=pa${HOME}x", "pa${HOME}x"),
        ("BMS_PASSWORD=a${x:-y}b$c", "a${x:-y}b$c"),
        ("BMS_PASSWORD=a#b", "a#b"),
        ("BMS_PASSWORD=#ab", "#ab"),
        ("BMS_PASSWORD='a b #c'", "a b #c"),
        ('BMS_PASSWORD="a b #c" # the new one', "a b #c"),
        ("BMS_PASSWORD=  two words  ", "two words"),
        ("BMS_PASSWORD=' blanks '", " blanks "),
        ("BMS_PASSWORD=it's", "it's"),
        ("BMS_PASSWORD='back\\slash'", "back\\slash"),
        ("BMS_PASSWORD=back\\\\slash\\n", "back\\\\slash\\n"),
        ("export BMS_PASSWORD = x=y", "x=y"),
        ("bms_password=lower", "lower"),
        ("\ufeffBMS_PASSWORD=a mark in the middle", "a mark in the middle"),
        # As reported in public for other readers of such files:
        ("BMS_PASSWORD=bm%IEG^lkq$D-$wOsDmu", "bm%IEG^lkq$D-$wOsDmu"),
        ("BMS_PASSWORD=$2y$10$fbdLV2U3Y98LrFYDbn2Fx", "$2y$10$fbdLV2U3Y98LrFYDbn2Fx"),
        ("BMS_PASSWORD='1!@#$%^&*()_+~`'", "1!@#$%^&*()_+~`"),
        ("BMS_PASSWORD=Db=x;User Id=y;Password=123#123abc;", "Db=x;User Id=y;Password=123#123abc;"),
        ('BMS_PASSWORD="C:\\\\Program Files\\\\PATH\\\\"', "C:\\Program Files\\PATH\\"),
    ],
)
def test_a_value_written_by_hand_is_read_as_it_is_written(env_file: Path, line: str, password: str) -> None:
    read = read_settings(written(env_file, f"BMS_TENANT=Us\n{line}\r\nBMS_USERNAME=api\n"))
    assert read.bms_password.get_secret_value() == password
    assert (read.bms_tenant, read.bms_username) == ("Us", "api")


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("BMS_PASSWORD=canary #rest", id="a # that may belong to it"),
        pytest.param("BMS_PASSWORD=canary # rest", id="a # in a secret"),
        pytest.param("BMS_TENANT=Canary #1", id="a # without a blank"),
        pytest.param("BMS_PASSWORD='canary'rest", id="text after the quote"),
        pytest.param("BMS_PASSWORD='it's canary'", id="a quote in quotes"),
        pytest.param("BMS_PASSWORD='canary", id="a quote that is not closed"),
        pytest.param("BMS_PASSWORD='canary\nBMS_URL='x'", id="a quote that swallows the next line"),
        pytest.param('BMS_PASSWORD="canary\\new"', id="an escape that is a line break"),
        pytest.param("BMS_PASSWORD=“canary”", id="curly quotes"),
        pytest.param("BMS_PASSWORD: canary", id="a colon"),
        pytest.param("BMS_PASSWORD canary", id="no sign"),
        pytest.param("BMS_PASSWORD=can\x07ary", id="a control character"),
    ],
)
def test_a_line_that_can_be_read_in_two_ways_is_refused_by_number_and_name(env_file: Path, line: str) -> None:
    message = refusal(written(env_file, f"# ours\n\n{line}\n"))
    assert f"{env_file}, line 3 ({line[:12].rstrip('=: ').split('=')[0]})" in message
    assert "canary" not in message.lower()


def test_a_comment_after_a_value_is_a_comment(env_file: Path) -> None:
    read = read_settings(written(env_file, "BMS_TENANT=Us # as in My Settings\nBMS_URL='https://x' # ours\n"))
    assert (read.bms_tenant, read.bms_url) == ("Us", "https://x")
    assert read_settings(written(env_file, "BMS_TENANT= # not yet\n")).bms_tenant == ""


# ------------------------------------------------------------------------------------------------------- encodings


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_utf8_is_read_with_and_without_its_mark(env_file: Path, mark: bytes, end: bytes) -> None:
    read = read_settings(written(env_file, mark + end.join(["BMS_TENANT=Büro Ł".encode(), b"BMS_USERNAME=u", b""])))
    assert (read.bms_tenant, read.bms_username) == ("Büro Ł", "u")


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1", "cp850", "mac_roman"]
)
def test_another_encoding_is_refused_with_its_line_and_never_guessed(env_file: Path, encoding: str) -> None:
    message = refusal(written(env_file, "BMS_TENANT=Us\nBMS_PASSWORD=canary-püß\n".encode(encoding)))
    assert "UTF-8" in message
    assert "line 2 (BMS_PASSWORD)" in message if "utf" not in encoding else "line 1" in message
    assert "canary" not in message


# ---------------------------------------------------------------------------------------------------- not set at all


@pytest.mark.parametrize("name", [*Settings.model_fields, *ScheduleSettings.model_fields])
@pytest.mark.parametrize("line", ["{}=", "{}=''", '{}=""', "{}", "{}=   "])
def test_an_empty_line_means_not_set(env_file: Path, name: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, read = (
        (Settings, read_settings) if name in Settings.model_fields else (ScheduleSettings, read_schedule_settings)
    )
    written(env_file, line.format(name.upper()) + "\n")
    assert getattr(read(env_file), name) == kind.model_fields[name].default
    monkeypatch.setenv(name.upper(), "")
    assert getattr(read(env_file), name) == kind.model_fields[name].default


def test_an_empty_variable_leaves_the_file_its_say(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMS_TENANT", "")
    assert read_settings(written(env_file, "BMS_TENANT=Us\n")).bms_tenant == "Us"
    monkeypatch.setenv("BMS_TENANT", "Them")
    assert read_settings(env_file).bms_tenant == "Them"


# ------------------------------------------------------------------------------------------------------------- paths


def test_a_tilde_is_the_home_folder_in_every_path(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    read = read_settings(written(env_file, "BMS_PIPELINE_HOME=~/bms\nBMS_CA_FILE='~/ca.pem'\n"))
    assert (read.bms_pipeline_home, read.bms_ca_file) == (tmp_path / "bms", tmp_path / "ca.pem")
    assert "line 1" in refusal(written(env_file, "BMS_PIPELINE_HOME=~nobody-here/bms\n"))


def test_a_relative_path_starts_where_it_was_written_and_is_absolute_from_then_on(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert read_settings(written(env_file, "BMS_PIPELINE_HOME=data\n")).bms_pipeline_home == tmp_path / "data"
    monkeypatch.setenv("BMS_PIPELINE_HOME", "other")
    assert read_settings(env_file).bms_pipeline_home == elsewhere / "other"
    monkeypatch.delenv("BMS_PIPELINE_HOME")
    assert read_settings(None).bms_pipeline_home.is_absolute()


def test_nothing_is_filled_in_in_a_path_and_that_is_logged(env_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    read = read_settings(written(env_file, "BMS_PIPELINE_HOME=/data/${USER}\n"))
    assert read.bms_pipeline_home == Path("/data/${USER}")
    assert "line 1" in caplog.text
    assert "nothing is filled in" in caplog.text


@pytest.mark.parametrize("what", ["a file", "below a file", "a link that leads nowhere", "a device"])
def test_a_home_that_is_no_folder_is_one_message_about_the_setting(env_file: Path, tmp_path: Path, what: str) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    home = {"a file": "f", "below a file": "f/home/x", "a link that leads nowhere": "link", "a device": "/dev/null"}[
        what
    ]
    message = refusal(written(env_file, f"BMS_PIPELINE_HOME={home}\n"))
    assert "BMS_PIPELINE_HOME" in message
    assert home in message


def test_a_home_below_a_question_mark_is_refused_with_the_cause(env_file: Path) -> None:
    assert "DuckDB" in refusal(written(env_file, "BMS_PIPELINE_HOME=/data/really?/home\n"))


# ------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BMS_TENNANT", "BMS_TENANT"),
        ("BSM_PASSWORD", "BMS_PASSWORD"),
        ("PASPORTAL_URL", "PASSPORTAL_URL"),
        ("PASSPORTAL_KEYID", "PASSPORTAL_KEY_ID"),
        ("BMS_PASSWORT_FILE", "BMS_PASSWORD_FILE"),
        ("BMS_PIPELINE_TIMEZONE", "BMS_PIPELINE_TIME_ZONE"),
        ("BMS_USERNAME_FILE", "BMS_USERNAME"),
    ],
)
def test_a_misspelt_name_is_logged_once_with_the_nearest_one(
    env_file: Path, name: str, meant: str, caplog: pytest.LogCaptureFixture
) -> None:
    written(env_file, f"# ours\n{name}=canary\n")
    for _ in range(2):
        read_settings(env_file)
    assert [record.getMessage() for record in caplog.records] == [
        f"{name} ({env_file}, line 2) is no setting; did you mean {meant}?"
    ]


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("BMS_TENNANT", "; did you mean BMS_TENANT?"),
        ("bms_pasword", "; did you mean BMS_PASSWORD?"),
        ("NOTICE_SMPT_PORT", "; did you mean NOTICE_SMTP_PORT?"),
        ("BMS_PIPELINE_SECRET", "; did you mean BMS_PIPELINE_SECRETS?"),
        ("BMS_NOBODY_KNOWS_THIS", " of bms-pipeline."),
        ("PASSPORTAL_WHATEVER_ELSE", " of bms-pipeline."),
    ],
)
def test_a_misspelt_name_in_the_environment_is_logged_once(
    name: str, ending: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, "canary")
    for _ in range(2):
        read_settings(None)
    assert [record.getMessage() for record in caplog.records] == [
        f"{name.upper()} (the environment) is no setting{ending}"
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PASSPORTAL_SERVICE_HOST", "10.0.0.1"),
        ("PASSPORTAL_SERVICE_PORT", "443"),
        ("PASSPORTAL_SERVICE_PORT_HTTPS", "443"),
        ("BMS_PIPELINE_PORT", "tcp://10.0.0.1:80"),
        ("BMS_PIPELINE_PORT_3000_TCP", "tcp://10.0.0.1:3000"),
        ("BMS_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("NOTICE_PORT_53_UDP_PROTO", "udp"),
        *((name.value, "x") for name in OwnVariable),
    ],
)
def test_names_that_a_platform_or_this_program_sets_itself_are_not_logged(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, value)
    read_settings(None)
    assert not caplog.records


def test_every_name_that_the_code_reads_from_the_environment_is_known() -> None:
    known = settings_module._NAMES | {*OwnVariable}
    package = Path(settings_module.__file__).parents[1]
    read = {
        node.value
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"(BMS|PASSPORTAL|NOTICE)_[A-Z_]*[A-Z]", node.value)
    }
    assert len(read) > 15
    prefixes_and_headings = {"NOTICE_WEBHOOK", "NOTICE_SMTP", "BMS_ID", "PASSPORTAL_ID"}
    assert read - known - prefixes_and_headings == set()


def test_a_new_folder_names_settings_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shipped = make_new_folder(tmp_path).folder / ".env"
    names = re.findall(r"^#([A-Z_]+)=", shipped.read_text(), re.MULTILINE)
    assert len(names) > 30
    with shipped.open("a") as file:
        file.writelines(f"{name}=\n" for name in names)
    read_settings(shipped)
    assert not caplog.records


def test_a_command_says_on_standard_error_that_a_name_is_misspelt(tmp_path: Path) -> None:
    done = run([sys.executable, "-m", "bms_pipeline.cli", "status", "--json"], tmp_path, BMS_PASWORD="canary")
    assert done.stderr == "BMS_PASWORD (the environment) is no setting; did you mean BMS_PASSWORD?\n"
    assert json.loads(done.stdout)


def test_quotes_that_docker_keeps_in_the_environment_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BMS_PASSWORD", "'canary'")
    assert read_settings(None).bms_password.get_secret_value() == "'canary'"
    assert "BMS_PASSWORD (the environment) stands in quotes" in caplog.text
    assert "canary" not in caplog.text


def test_other_programs_settings_in_the_file_are_nobodys_business(
    env_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_settings(written(env_file, "POSTGRES_PASSWORD=x\nDAGSTER_HOME=/x\nTZ=UTC\nSMTP_HOST=x\nHTTP_PROXY=x\n"))
    assert not caplog.records


def test_a_malformed_setting_is_named_with_its_place(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(written(env_file, "\nBMS_CALLS_PER_HOUR=many\n"))
    assert f"BMS_CALLS_PER_HOUR ({env_file}, line 2)" in message
    monkeypatch.setenv("NOTICE_SMTP_PORT", "smtp")
    assert "NOTICE_SMTP_PORT (the environment)" in refusal(written(env_file, ""))


# ----------------------------------------------------------------------------------------------- secrets in files


@pytest.mark.parametrize("name", sorted(SECRETS))
@pytest.mark.parametrize("content", [b"pa${HOME} x", b"pa${HOME} x\n", b"\xef\xbb\xbfpa${HOME} x\r\n"])
def test_each_secret_may_lie_in_a_file(
    env_file: Path, tmp_path: Path, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(content)
    # One of the state's two settings without the other is refused.
    monkeypatch.setenv("BMS_PIPELINE_LAKE", "lake" if name == "BMS_PIPELINE_STATE" else "")
    written(env_file, f"{name}_FILE=secret\n")
    assert getattr(read_settings(env_file), name.lower()).get_secret_value() == "pa${HOME} x"
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    assert getattr(read_settings(None), name.lower()).get_secret_value() == "pa${HOME} x"
    monkeypatch.setenv(name, "both")
    assert f"{name} and {name}_FILE are both set" in refusal(env_file)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"two\nlines\n", b"p\xfcss", b"x" * 70_000])
def test_a_file_without_one_secret_in_it_is_refused_by_the_name_of_its_setting(
    env_file: Path, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    message = refusal(written(env_file, "BMS_PASSWORD_FILE=secret\n"))
    assert "BMS_PASSWORD_FILE" in message
    assert str(tmp_path / "secret") in message
    assert "two" not in message


def test_the_environment_goes_before_the_file_also_where_one_of_them_names_a_file(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    written(env_file, "BMS_PASSWORD=written\n")
    monkeypatch.setenv("BMS_PASSWORD_FILE", str(tmp_path / "secret"))
    assert read_settings(env_file).bms_password.get_secret_value() == "from a file"
    written(env_file, "BMS_PASSWORD_FILE=secret\n")
    monkeypatch.delenv("BMS_PASSWORD_FILE")
    monkeypatch.setenv("BMS_PASSWORD", "exported")
    assert read_settings(env_file).bms_password.get_secret_value() == "exported"


def test_a_secret_in_a_file_belongs_to_its_address_like_any_other(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("canary\n")
    written(env_file, "BMS_URL=https://old.example\nBMS_PASSWORD_FILE=secret\n")
    assert store_settings(env_file, {"BMS_URL": "https://new.example"}) == ["BMS_PASSWORD"]
    assert read_settings(env_file).bms_password.get_secret_value() == ""
    written(env_file, "BMS_URL=https://old.example\n")
    monkeypatch.setenv("BMS_PASSWORD_FILE", str(tmp_path / "secret"))
    with pytest.raises(SettingsError, match="BMS_PASSWORD comes from the environment"):
        store_settings(env_file, {"BMS_URL": "https://new.example"})


def test_a_secret_that_is_entered_replaces_the_file_that_held_it(env_file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("old\n")
    written(env_file, "BMS_PASSWORD_FILE=secret\nBMS_TENANT=Us\n")
    store_settings(env_file, {"BMS_PASSWORD": "new"})
    assert read_settings(env_file).bms_password.get_secret_value() == "new"
    assert env_file.read_text() == "BMS_TENANT=Us\nBMS_PASSWORD='new'\n"


# ------------------------------------------------------------------------------------------- schedules, homes, output


def run(command: Sequence[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    package = str(Path(settings_module.__file__).parents[1])
    return subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": package, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )


def schedules() -> list[tuple[str, str]]:
    """Cron and time zone of each schedule, as Dagster finds them when it loads the module."""
    spec = importlib.util.find_spec("bms_pipeline.defs.schedules")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [(each.cron_schedule, each.execution_timezone) for each in module.SCHEDULES]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BMS_PIPELINE_SYNC_CRON", "every hour"),
        ("BMS_PIPELINE_FULL_SYNC_CRON", "'0 2 * * *'"),
        ("BMS_PIPELINE_SYNC_CRON", "0 0 31 2 *"),
        ("BMS_PIPELINE_TIME_ZONE", "W. Europe Standard Time"),
        ("BMS_PIPELINE_TIME_ZONE", "../etc/passwd"),
    ],
)
def test_a_cron_or_zone_that_is_none_is_named_by_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        schedules()


def test_schedules_are_set_in_the_file_too(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(env_file, "BMS_PIPELINE_SYNC_CRON=*/15 * * * *\nBMS_PIPELINE_TIME_ZONE=Europe/Berlin\n")
    monkeypatch.chdir(env_file.parent)
    assert schedules() == [("*/15 * * * *", "Europe/Berlin"), ("30 2 * * *", "Europe/Berlin")]


HOMES = ("t[1]", "a*b", "a\\b [!x]", "it's 100%20", "ünï 日本 {x}", '~ $HOME "#1')


@pytest.mark.parametrize("name", HOMES)
def test_a_home_may_hold_any_character_and_reads_its_own_pages_only(tmp_path: Path, name: str) -> None:
    matched = {"t[1]": "t1", "a*b": "axb"}.get(name)  # by the name, taken for a pattern
    if matched:
        with opened_world(tmp_path / matched / "home", entities=(CLIENTS,)) as other:
            other.accounts = [account(1, "Alpha"), account(2, "Beta")]
            other.cycle()
    with opened_world(tmp_path / name / "home", entities=(CLIENTS,)) as world:
        world.accounts = [account(3, "Gamma")]
        world.cycle()
        assert world.titles("client") == ["Gamma"]


@pytest.mark.parametrize("more", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C"}])
def test_output_that_cannot_show_a_sign_shows_something_else(tmp_path: Path, more: dict[str, str]) -> None:
    done = run([sys.executable, "-m", "bms_pipeline.cli", "init", str(tmp_path / "Łódź")], tmp_path, **more)
    assert done.returncode == 0
    assert not done.stderr
    assert "\\u0141" in done.stdout or "Łódź" in done.stdout


@pytest.mark.parametrize(
    ("redirection", "code", "message"),
    [
        ("> /dev/full", 1, "cannot be written"),
        ("| true", 0, ""),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("< /dev/null", 0, ""),
    ],
)
@pytest.mark.parametrize("verb", quick_and_soak(["status"], ["status --json"]))
def test_output_that_takes_nothing_is_one_message_at_most(
    tmp_path: Path, verb: str, redirection: str, code: int, message: str
) -> None:
    done = run(["sh", "-c", f"{sys.executable} -m bms_pipeline.cli {verb} {redirection}"], tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


# --------------------------------------------------------------------------------------- what a sync needs, all at once


NEEDED = (*BMS_NEEDS, *PASSPORTAL_NEEDS)


@pytest.mark.parametrize("target", ["embedded", "documents_api"])
@pytest.mark.parametrize("command", ["authenticate", "preview", "sync", "sync --incremental"])
def test_all_settings_that_a_sync_lacks_are_named_at_once(tmp_path: Path, command: str, target: str) -> None:
    needed = NEEDED if target == "documents_api" else BMS_NEEDS
    given = {"PASSPORTAL_TARGET": target, "BMS_PIPELINE_HOME": str(tmp_path / "home")}
    ran = called(*command.split(), environment=given, folder=tmp_path)
    assert ran.returncode == 1
    assert f"Error: {', '.join(needed[:-1])} and {needed[-1]} are not set." in ran.stderr.replace("\n", " ")
    assert "in .env in this folder" in ran.stderr
    assert len(ran.stderr.splitlines()) == 2, "nothing began"


@given(st.sets(st.sampled_from(NEEDED)))
def test_whatever_is_not_set_is_named_and_nothing_else(given_names: set[str]) -> None:
    values = {name.lower(): "x" for name in given_names}
    settings = Settings(_env_file=None, passportal_target="documents_api", **values)  # type: ignore[call-arg, arg-type]
    missing = [name for name in NEEDED if name not in given_names]
    assert missing_settings(settings, NEEDED) == missing
    if missing:
        with pytest.raises(SettingsError) as error:
            check_given(settings, NEEDED)
        assert [name for name in NEEDED if name in error.value.message] == missing
        assert "_FILE" in error.value.next_step or not SECRETS & set(missing)
    else:
        check_given(settings, NEEDED)


def test_an_explicit_api_address_takes_the_place_of_the_portal() -> None:
    settings = Settings(_env_file=None, bms_api_url="https://psa.example")  # type: ignore[call-arg]
    assert missing_settings(settings, BMS_NEEDS) == list(BMS_NEEDS[1:])
