"""A tenant declared in ``defs.yaml``, as Dagster's components are.

::

    type: bms_pipeline.defs.component.BmsToPassportal
    attributes:
      name: acme
      env_file: /var/lib/bms-pipeline/acme/.env

One code location holds one tenant. This module imports no other definitions before the tenant is known, because they
take its name when they are imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
from pydantic import BaseModel, Field, create_model, model_validator

from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.settings import check_alone_in, read_schedule_settings, use_env_file

_claimed: list[tuple[str, Path]] = []
"""The tenant of this process and the file with its settings, once it is known."""


class _OnlyOurs(BaseModel):
    @model_validator(mode="before")
    @classmethod
    def _refuse_others(cls, values: Mapping[str, object]) -> Mapping[str, object]:
        """Refuse other attributes without their value: Dagster's own error would repeat a secret."""
        others = sorted(set(values) - set(cls.model_fields))
        if others:
            raise SettingsError(
                f"defs.yaml has {', '.join(others)}, and the attributes are {', '.join(cls.model_fields)}.",
                "Write settings and secrets into the file that env_file names, never into defs.yaml.",
            )
        return values


class BmsToPassportal(dg.Component, dg.Model, dg.Resolvable):
    """Brings one tenant's clients, users, assets, contacts and locations from Kaseya BMS into Passportal."""

    name: str = Field(min_length=1, description="The tenant's name: the first part of its names in Dagster.")
    env_file: str = Field(
        description="The file with the tenant's settings, as `bms-pipeline init` writes it. Secrets are never in here."
    )
    secrets: str | None = Field(
        default=None, description="A folder with a file for each secret, as Docker and Kubernetes mount them."
    )

    @classmethod
    def model(cls) -> type[BaseModel]:
        """Return the attributes that ``defs.yaml`` may have."""
        return create_model("BmsToPassportalModel", __base__=(_OnlyOurs, super().model()))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the definitions of the tenant. Relative paths are below the folder of ``defs.yaml``.

        Raises ``SettingsError`` where this code location already holds another tenant.
        """
        folder = Path(context.path)
        env_file = folder / Path(self.env_file).expanduser()
        secrets = folder / Path(self.secrets).expanduser() if self.secrets else None
        claim(self.name, env_file, secrets)
        from bms_pipeline.defs.tenant import build_definitions

        return build_definitions()


def claim(name: str, env_file: Path, secrets: Path | None = None) -> None:
    """Make this process the one of a tenant. Raises ``SettingsError`` where it is another tenant's."""
    if not env_file.is_file():
        raise SettingsError(f"The settings of {name} are not there: {env_file}.", "Make them with `bms-pipeline init`.")
    claimed = (name, env_file.resolve())
    if _claimed and _claimed != [claimed]:
        raise SettingsError(
            f"This code location already holds the tenant {_claimed[0][0]}, so it cannot hold {name}, too. Jobs and"
            " schedules have the same names for every tenant, and settings and log-ins belong to the process.",
            f"Give {name} a code location of its own: docs/deploy.md, Several tenants.",
        )
    check_alone_in(env_file)
    use_env_file(env_file, secrets)
    os.environ["BMS_PIPELINE_NAME"] = name
    read_schedule_settings()  # refuses a name that Dagster would not take
    from bms_pipeline.defs import names

    if name != names.TENANT:
        raise SettingsError(
            f"This process has loaded the definitions of {names.TENANT or 'a tenant without a name'} before {name}.",
            f"Give {name} a code location of its own: docs/deploy.md, Several tenants.",
        )
    _claimed[:] = [claimed]
