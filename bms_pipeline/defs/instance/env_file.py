"""Keeps what is exported before ``.env`` in Dagster's processes; ``dagster.yaml`` names ``EnvFile``.

Dagster puts each line of ``.env`` over the environment, so an exported setting would not count there. A sandbox's `dev`
that is started in the folder of a real ``.env`` would work on the real tenant. Our settings read the file themselves
and let the environment go first. Dagster does it in three places, and each has its answer here:

- a code server or a run asks ``EnvFile``;
- each command reads the file before anything of ours is loaded: ``as_exported`` takes that back;
- what such a command starts inherits it: ``without_our_lines`` is for the commands that we start.
"""

from __future__ import annotations

import os

import psutil
from dagster._cli import utils as dagster_commands
from dagster._core.secrets.env_file import EnvFileLoader, get_env_var_dict

from bms_pipeline.core.settings import is_known


class EnvFile(EnvFileLoader):
    """Dagster's default loader of ``.env``, without the settings of this program."""

    def get_secrets_for_environment(self, location_name: str | None) -> dict[str, str]:  # Dagster's own
        """Return the other programs' variables in ``.env``."""
        return _lines_of_others(self._base_dir)


def as_exported() -> None:
    """Take back what Dagster put over our settings from ``.env``: each has again what this process began with."""
    began_with = psutil.Process().environ()
    for name, text in get_env_var_dict(os.getcwd()).items():  # noqa: PTH109  # as Dagster looks for the file
        if is_known(name) and os.environ.get(name) == text:
            if name in began_with:
                os.environ[name] = began_with[name]
            else:
                del os.environ[name]


def without_our_lines() -> None:
    """Let the command of Dagster that runs in this process leave the settings of this program out."""
    vars(dagster_commands)["get_env_var_dict"] = _lines_of_others


def _lines_of_others(folder: str) -> dict[str, str]:
    lines: dict[str, str] = get_env_var_dict(folder)
    return {name: text for name, text in lines.items() if not is_known(name)}
