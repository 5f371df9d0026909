"""``bms-pipeline init``: a folder with all that a deployment needs, and never a change to a file that is there."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._core.secrets.env_file import get_env_var_dict

from bms_pipeline.cli import serve
from bms_pipeline.core.errors import PipelineError, SettingsError
from bms_pipeline.core.settings import Settings, read_settings
from bms_pipeline.sync.new_folder import make_new_folder

ROOT = Path(__file__).parents[1]
FILES = (".env", "dagster.yaml", "workspace.yaml", "dg.toml")


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("BMS_", "PASSPORTAL_", "NOTICE_", "DAGSTER_HOME")):
            monkeypatch.delenv(name)


def init(folder: Path, *arguments: str, package: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in ``folder``, with the package that lies in ``package``."""
    return subprocess.run(
        [sys.executable, "-m", "bms_pipeline.cli", "init", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(package), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_empty_folder_gets_all_four_files_and_only_you_can_read_the_settings(tmp_path: Path) -> None:
    done = init(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for name in FILES:
        assert f"Written: {tmp_path / name}" in done.stdout
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert done.stdout.splitlines()[-2:] == ["  bms-pipeline authenticate", "  bms-pipeline dev"]
    settings = read_settings(tmp_path / ".env")
    assert settings.bms_pipeline_home == tmp_path / ".bms_pipeline"
    assert settings.dagster_folder == tmp_path / ".bms_pipeline" / "dagster"


def test_a_folder_that_is_not_there_is_made_and_the_commands_enter_it(tmp_path: Path) -> None:
    done = init(tmp_path, "new/it's mine")
    assert done.returncode == 0, done.stderr
    entering = done.stdout.splitlines()[-1].removesuffix("bms-pipeline dev") + "pwd"
    shown = subprocess.run(["sh", "-c", entering], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == str(tmp_path / "new" / "it's mine")


@pytest.mark.parametrize(
    "name", ["plain", "it's", "t[1]", "a b #c", "ünï 日本 {x}", "$HOME", '"quoted"', "back\\slash", "100% x"]
)
def test_both_homes_are_absolute_and_the_same_for_us_and_for_dagster(tmp_path: Path, name: str) -> None:
    folder = make_new_folder(tmp_path / name).folder
    read = read_settings(folder / ".env")
    homes = (str(read.bms_pipeline_home), str(read.dagster_folder))
    assert homes == (str(folder / ".bms_pipeline"), str(folder / ".bms_pipeline" / "dagster"))
    loaded = get_env_var_dict(str(folder))
    assert (loaded["BMS_PIPELINE_HOME"], loaded["DAGSTER_HOME"]) == homes


@pytest.mark.parametrize("name", ["really?", "a%20b"])
def test_a_folder_that_cannot_be_a_home_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"DuckDB|Dagster"):
        make_new_folder(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_dagster_reads_the_file_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_new_folder(tmp_path)
    assert serve._dagster_home(read_settings(tmp_path / ".env")) == made.dagster_home
    file = tmp_path / "dagster.yaml"
    file.write_text(file.read_text().replace("max_concurrent_runs: 4", "max_concurrent_runs: 7"))
    monkeypatch.setenv("DAGSTER_HOME", str(made.dagster_home))
    with DagsterInstance.get() as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == 7
        assert not instance.telemetry_enabled


def test_dev_serves_the_workspace_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(_env_file=None, bms_pipeline_home=tmp_path / "home")  # type: ignore[call-arg]
    assert serve._workspace(settings) == serve.WORKSPACE
    make_new_folder(tmp_path)
    assert serve._workspace(settings) == tmp_path / "workspace.yaml"
    named = settings.model_copy(update={"bms_pipeline_name": "acme"})
    named.dagster_folder.mkdir(parents=True)
    assert "location_name: acme\n" in serve._workspace(named).read_text(), "links lead to a location of that name"
    assert capsys.readouterr().err == ""
    (tmp_path / "workspace.yaml").write_text("load_from: []\n")
    assert serve._workspace(settings) == serve._workspace(named) == tmp_path / "workspace.yaml"
    assert "differs from the shipped one" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- what is there stays there


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "content", [b"", b"# mine\n", b"KEY: canary\n", b"BMS_PASSWORD=canary\nOWN_KEY=canary\n", b"\xff\xfe", b": [\n"]
)
def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    file.chmod(0o600)
    before = file.stat()
    done = init(tmp_path)
    assert "canary" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    after = file.stat()
    assert file.read_bytes() == content
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (before.st_ino, before.st_mtime_ns, before.st_mode)
    if done.returncode == 0:
        assert f"Left alone: {file}" in done.stdout
    else:  # settings which cannot be read: nothing is made on them
        assert name == ".env"
        assert str(file) in done.stderr
        assert not (tmp_path / "dagster.yaml").exists()


def test_a_second_time_says_that_all_is_as_shipped_but_the_settings_you_filled_in(tmp_path: Path) -> None:
    make_new_folder(tmp_path)
    with (tmp_path / ".env").open("a") as file:
        file.write("BMS_PASSWORD=canary\n")
    again = make_new_folder(tmp_path)
    assert [file.is_new for file in again.files] == [False] * 4
    assert [file.differs for file in again.files] == [False] * 4
    assert not again.reads_other


def test_what_differs_is_said_by_name_and_never_by_value(tmp_path: Path) -> None:
    make_new_folder(tmp_path)
    env, dagster = tmp_path / ".env", tmp_path / "dagster.yaml"
    env.write_text(env.read_text().replace("#BMS_CA_FILE=\n", "OTHER_SECRET=canary\n"))
    text = dagster.read_text().replace("max_concurrent_runs: 4", "max_concurrent_runs: 9").replace("nux:", "nix:")
    dagster.write_text(text + "storage:\n  postgres:\n    postgres_db: {password: canary}\n")
    done = init(tmp_path)
    for line in (
        "Only in the shipped file: BMS_CA_FILE",
        "Only in this file: OTHER_SECRET",
        "Only in the shipped file: nux.enabled",
        "Only in this file: nix.enabled, storage.postgres.postgres_db.password",
        "With another value than in the shipped file: concurrency.runs.max_concurrent_runs",
        f"Left alone: {tmp_path / 'workspace.yaml'}, which is as shipped",
    ):
        assert line in done.stdout
    assert "canary" not in done.stdout


def test_a_project_of_dg_keeps_its_own_settings(tmp_path: Path) -> None:
    """`dg` reads `dg.toml` and then no `pyproject.toml`."""
    (tmp_path / "pyproject.toml").write_text('[tool.dg]\ndirectory_type = "project"\n')
    assert [file.file.name for file in make_new_folder(tmp_path).files] == [*FILES[:3]]
    assert not (tmp_path / "dagster_project").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pyproject.toml").write_text("[tool.ruff]\n")
    assert [file.file.name for file in make_new_folder(tmp_path / "other").files] == [*FILES]
    assert (tmp_path / "other" / "dagster_project" / "defs").is_dir()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["a link that leads nowhere", "a folder", "a link to another file"])
def test_whatever_has_the_name_counts_as_yours(tmp_path: Path, name: str, kind: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    other = tmp_path / "other"
    if kind == "a folder":
        (folder / name).mkdir()
    else:
        (folder / name).symlink_to(other)
    if kind == "a link to another file":
        other.write_text("")
        other.chmod(0o600)
    make_new_folder(folder)
    assert other.exists() == (kind == "a link to another file")
    if other.exists():
        assert other.read_text() == ""


def test_a_dagster_home_with_a_file_of_its_own_keeps_it_and_that_is_said(tmp_path: Path) -> None:
    own = tmp_path / ".bms_pipeline" / "dagster" / "dagster.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("telemetry: {enabled: false}\n")
    done = init(tmp_path)
    assert f"Dagster reads {own}, and not the dagster.yaml of this folder" in done.stdout
    assert own.read_text() == "telemetry: {enabled: false}\n"


def test_homes_of_the_environment_or_of_settings_that_are_there_are_kept_to(tmp_path: Path) -> None:
    home, dagster = tmp_path / "home", tmp_path / "dagster home"
    init(tmp_path, "a", BMS_PIPELINE_HOME=str(home))
    assert read_settings(tmp_path / "a" / ".env").bms_pipeline_home == home
    assert (home / "dagster" / "dagster.yaml").samefile(tmp_path / "a" / "dagster.yaml")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".env").write_text(f"BMS_PIPELINE_HOME=below\nDAGSTER_HOME='{dagster}'\n")
    (tmp_path / "b" / ".env").chmod(0o600)
    made = make_new_folder(tmp_path / "b")
    assert (made.home, made.dagster_home) == (tmp_path / "b" / "below", dagster)
    assert (dagster / "dagster.yaml").samefile(tmp_path / "b" / "dagster.yaml")


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_where_a_folder_cannot_be_made_one_message_says_why(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PipelineError) as refused:
        make_new_folder(tmp_path / where)
    assert str(tmp_path / "file") in refused.value.message
    assert refused.value.next_step


# ------------------------------------------------------------------------------------------------------ from the wheel


def test_an_installed_wheel_makes_a_folder_that_dagster_loads(tmp_path: Path) -> None:
    """The wheel is unpacked where no checkout is: whatever it reads is data of the package."""
    source, installed, folder = tmp_path / "source", tmp_path / "installed", tmp_path / "folder"
    source.mkdir()
    for package in ("bms_pipeline", "bms_sandbox"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    build = "from setuptools import build_meta; build_meta.build_wheel('wheel')"
    (source / "wheel").mkdir()
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True, timeout=240)
    with zipfile.ZipFile(next((source / "wheel").glob("*.whl"))) as wheel:
        wheel.extractall(installed)
    shutil.rmtree(source)
    folder.mkdir()
    done = init(folder, package=installed)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == sorted([".bms_pipeline", "dagster_project", *FILES])
    code = (
        "import bms_pipeline, dagster\n"
        "print(bms_pipeline.__file__)\n"
        "with dagster.DagsterInstance.get() as instance: print(type(instance.run_launcher).__module__)"
    )
    environment = {"PYTHONPATH": str(installed), "PATH": os.environ["PATH"], **get_env_var_dict(str(folder))}
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert loaded.stdout.splitlines() == [
        str(installed / "bms_pipeline" / "__init__.py"),
        "bms_pipeline.defs.instance.launcher",
    ], loaded.stderr
