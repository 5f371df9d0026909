"""The files of a new folder for one tenant: ``.env``, ``dagster.yaml``, ``workspace.yaml`` and ``dg.toml``, as shipped.

``BMS_PIPELINE_HOME`` and ``DAGSTER_HOME`` are absolute in them, so a program finds the same home from every folder.
Dagster reads ``dagster.yaml`` in its own home only, so a link there leads to the one in the folder.
``dg.toml`` is for Dagster's command ``dg``, and needs the empty folder ``dagster_project/defs``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml

from bms_pipeline.core.env_file import quoted_value
from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.files import refused_by_system, write_new
from bms_pipeline.core.settings import Settings, read_settings

ENV, DAGSTER, WORKSPACE, DG = ".env", "dagster.yaml", "workspace.yaml", "dg.toml"
_SHIPPED = {ENV: "env.example", DAGSTER: DAGSTER, WORKSPACE: WORKSPACE, DG: DG}
_PROJECT_FOLDER = Path("dagster_project", "defs")
_ENV_LINE = re.compile(r"^\s*#?\s*(?:export\s+)?([A-Z][A-Z0-9_]*)\s*=", re.MULTILINE)
_PLAIN = re.compile(r"[\w./+:@-]+", re.ASCII)
_OTHER_IN_ADDRESSES = re.compile(r"%[0-9A-Fa-f]{2}|\?")


@dataclass(frozen=True)
class FolderFile:
    """A file of the folder, written now or left alone.

    A file that was left alone is compared with the shipped one by its names only, because its values may be secrets:
    ``missing`` names are in the shipped one only, ``added`` ones in this one only, ``changed`` ones have another value.
    """

    file: Path
    is_new: bool
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    is_readable: bool = True

    @property
    def differs(self) -> bool:
        """Whether the file was left alone and is not as shipped."""
        return not self.is_readable or bool(self.missing or self.added or self.changed)


@dataclass(frozen=True)
class NewFolder:
    """The files of the folder and both homes. ``dagster_file`` is the ``dagster.yaml`` that Dagster reads."""

    folder: Path
    home: Path
    dagster_home: Path
    files: tuple[FolderFile, ...]

    @property
    def dagster_file(self) -> Path:
        """The ``dagster.yaml`` that Dagster reads."""
        return self.dagster_home / DAGSTER

    @property
    def reads_other(self) -> bool:
        """Whether Dagster reads another ``dagster.yaml`` than the one in the folder."""
        file = self.folder / DAGSTER
        return not (file.exists() and self.dagster_file.exists() and self.dagster_file.samefile(file))


def make_new_folder(folder: Path) -> NewFolder:
    """Write the files that are missing in ``folder``, and make both homes. An existing file always stays as it is.

    Both homes are those of the environment or of an existing ``.env``, else ``.bms_pipeline`` in ``folder``. Raises
    ``SettingsError`` before anything is written where a home cannot be used or an existing ``.env`` cannot be read.
    """
    folder = folder.expanduser().absolute()
    home, dagster_home = _homes(folder)
    for path in (folder, home, dagster_home):
        _make_folder(path)
    homes = {"BMS_PIPELINE_HOME": home, "DAGSTER_HOME": dagster_home}
    names = [name for name in _SHIPPED if name != DG or not _is_project_of_dg(folder)]
    files = tuple(_put(folder / name, _content(name, homes)) for name in names)
    if files[-1].file.name == DG and files[-1].is_new:
        _make_folder(folder / _PROJECT_FOLDER)
    _link(dagster_home / DAGSTER, folder / DAGSTER)
    return NewFolder(folder, home, dagster_home, files)


def compared(file: Path) -> FolderFile:
    """Compare ``file``, which is there, with the shipped file of its name."""
    shipped = shipped_text(file.name)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return FolderFile(file, is_new=False, is_readable=False)
    if file.name == ENV:
        ours, theirs = (dict.fromkeys(_ENV_LINE.findall(part), "") for part in (shipped, text))
    else:
        load = tomllib.loads if file.suffix == ".toml" else yaml.safe_load
        try:
            ours, theirs = (dict(_leaves(load(part))) for part in (shipped, text))
        except (yaml.YAMLError, tomllib.TOMLDecodeError):
            return FolderFile(file, is_new=False, is_readable=False)
    return FolderFile(
        file,
        is_new=False,
        missing=tuple(name for name in ours if name not in theirs),
        added=tuple(name for name in theirs if name not in ours),
        changed=tuple(name for name in ours if name in theirs and ours[name] != theirs[name]),
    )


def shipped_text(name: str) -> str:
    """Return the shipped content of the file ``name`` of a folder."""
    return (resources.files("bms_pipeline") / "shipped" / _SHIPPED[name]).read_text(encoding="utf-8")


def check_dagster_home(dagster_home: Path) -> None:
    """Raise ``SettingsError`` where Dagster would take the path of its home for something else."""
    if _OTHER_IN_ADDRESSES.search(str(dagster_home)):
        raise SettingsError(
            f"Dagster reads {dagster_home} as an address, where % with two digits, and ?, mean something else.",
            "Set DAGSTER_HOME to another folder; the pipeline's own home can stay.",
        )


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise refused_by_system(error.errno or 0, error.filename or path) from error


def _is_project_of_dg(folder: Path) -> bool:
    """Return whether a person's ``pyproject.toml`` is for ``dg`` too; a ``dg.toml`` would go before it."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return "dg" in project.get("tool", {})


def _homes(folder: Path) -> tuple[Path, Path]:
    env_file = folder / ENV
    settings: Settings = read_settings(env_file if env_file.is_file() else None)
    if "bms_pipeline_home" not in settings.model_fields_set:
        settings = settings.model_copy(update={"bms_pipeline_home": folder / ".bms_pipeline"})
        if "?" in str(folder):
            raise SettingsError(
                f"{folder} holds a ?. Below such a path DuckDB puts a database's log into the wrong folder.",
                "Choose a folder without ?; every other character works.",
            )
    check_dagster_home(settings.dagster_folder)
    return settings.bms_pipeline_home, settings.dagster_folder


def _content(name: str, homes: Mapping[str, Path]) -> str:
    """Return the shipped content, in ``.env`` with both homes filled in."""
    text = shipped_text(name)
    if name != ENV:
        return text
    for setting, path in homes.items():
        value = str(path) if _PLAIN.fullmatch(str(path)) else quoted_value(str(path))
        before, after = text.split(f"\n#{setting}=")
        text = "\n".join((before, f"{setting}={value}", after.partition("\n")[2]))
    return text


def _put(file: Path, content: str) -> FolderFile:
    if write_new(file, content):
        return FolderFile(file, is_new=True)
    return compared(file)


def _link(link: Path, target: Path) -> None:
    """Let ``link`` lead to ``target``, where nothing has its name yet."""
    if link == target:
        return
    try:
        link.symlink_to(target)
    except FileExistsError:
        return
    except OSError as error:
        raise refused_by_system(error.errno or 0, link) from error


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each value of a document with its path: ``("telemetry.enabled", "False")``."""
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, item in items:
        yield from _leaves(item, f"{path}.{key}" if path else str(key))
    if not items and path:
        yield path, repr(value)
