"""A world whose Passportal has templates, with the verbs of a person who changes the mapping."""

from __future__ import annotations

import contextlib
import copy
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.plan import operations as plans
from bms_pipeline.sync import deciding, mapping, planning
from bms_pipeline.sync.mapping import Foretold
from bms_pipeline_tests.building import CREATE_ALL, Operation, World, account, opened_world
from bms_pipeline_tests.templated import Document, TemplatedPassportal

PLAIN = ["Type", "Serial Number", "Primary IP", "Location", "Model", "Status", "Asset Tag", "Notes"]
"""The labels of a template, as Passportal has them."""


@dataclass
class MappedWorld:
    """One client with its assets."""

    world: World
    passportal: TemplatedPassportal

    @property
    def target(self) -> TemplatedPassportal:
        """Passportal, as the stored mapping reads it."""
        return self.passportal.under(mapping.current_mapping(self.world.warehouse))

    def map(self, toml: str, *, anyway: bool = False) -> Foretold:
        """A person stores this mapping."""
        wanted = parse_mapping(tomllib.loads(toml))
        with self.passportal.opened_by_the_product():
            return mapping.store_mapping(
                self.world.settings, self.world.warehouse, wanted, "a person", "a reason", anyway=anyway
            )

    def foretell(self, toml: str) -> Foretold:
        """A person tries this mapping."""
        wanted = parse_mapping(tomllib.loads(toml))
        with self.passportal.opened_by_the_product():
            return mapping.try_mapping(self.world.settings, self.world.warehouse, wanted)

    def plan(self) -> plans.Plan:
        """Read both sides and plan."""
        return self.world.plan(CREATE_ALL, self.target)

    def finish(self) -> None:
        """A person finishes the current plan by its hash."""
        self.world.finish(self.target)

    def cycle(self) -> plans.Plan:
        """One whole sync with a person who approves it; the plan."""
        plan = self.plan()
        self.finish()
        return plan

    def undo(self, plan_id: int) -> plans.Plan:
        """A person takes a load back."""
        plan = deciding.plan_undo(self.world.warehouse, plan_id)
        self.world.finish(self.target)
        return plan

    def assets(self) -> dict[str, dict[str, str]]:
        """Title → values by label, in Passportal."""
        return self.passportal.held("asset")

    def document(self, title: str) -> Document:
        """The document of this title, for a person to edit."""
        return next(found for found in self.passportal.documents.values() if found.title == title)

    def operations(self) -> dict[int, Operation]:
        """What the current plan does to assets."""
        return self.world.operations("assets")

    def counts(self) -> dict[str, int]:
        """The current plan's operations by kind."""
        return dict(
            self.world.query("SELECT operation, count(*) FROM sync.operations WHERE operation <> 'skip' GROUP BY ALL")
        )

    def planned_hash(self) -> str:
        """The hash of the current plan."""
        return planning.current_plan(self.world.warehouse).hash


@contextlib.contextmanager
def mapped_world(
    home: Path,
    templates: Mapping[str, Sequence[str]] | None = None,
    like: MappedWorld | None = None,
    entities: Sequence[Entity] = ENTITIES,
) -> Iterator[MappedWorld]:
    """A world with one client in BMS, or one that goes on like another; ``templates``: id → labels of assets."""
    with opened_world(home, like.world if like else None, entities=entities) as world:
        if like:
            yield MappedWorld(world, copy.deepcopy(like.passportal))
            return
        world.accounts = [account(1, "Acme")]
        passportal = TemplatedPassportal({"asset": templates or {"79": PLAIN}})
        passportal.enter("client", "Acme")
        yield MappedWorld(world, passportal)
