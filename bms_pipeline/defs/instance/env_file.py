"""What Dagster loads from a ``.env`` into its processes: for ``dagster.yaml``.

Dagster puts each line of ``.env`` over the environment of its code servers and runs, so an exported setting would not
count there. A sandbox's `dev`, started in the folder of a real ``.env``, would work on the real tenant. Our settings
read the file themselves and let the environment go first, so they are left out here.
"""

from __future__ import annotations

from dagster._core.secrets.env_file import EnvFileLoader, get_env_var_dict

from bms_pipeline.core.settings import is_known


class EnvFile(EnvFileLoader):
    """Dagster's default loader of ``.env``, without the settings of this program."""

    def get_secrets_for_environment(self, location_name: str | None) -> dict[str, str]:  # Dagster's own
        """Return the other programs' variables in ``.env``."""
        loaded: dict[str, str] = get_env_var_dict(self._base_dir)
        return {name: text for name, text in loaded.items() if not is_known(name)}
