"""Dagster's own pages behind the gate: ``python -m bms_pipeline.defs.pages``.

The pages are Dagster's, unchanged. The gate lets signed-in people in. It gives each of their launches a voucher, so the
run knows to accept the launch as an approval (``guard.vouching``).
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.log import configure_loggers
from dagster_graphql.schema.runs import parse_run_config_input
from dagster_shared.yaml_utils import dump_run_config_yaml, load_run_config_yaml
from dagster_webserver.version import __version__
from dagster_webserver.webserver import DagsterWebserver
from starlette.applications import Starlette
from starlette.types import ASGIApp

from bms_pipeline.core.lifeline import Stopped, following, stopped_by_signals
from bms_pipeline.core.settings import read_settings
from bms_pipeline.guard import vouching
from bms_pipeline.guard.door import Door, Visitor
from bms_pipeline.guard.gate import VISITOR, Gate
from bms_pipeline.guard.serving import serve
from bms_pipeline.guard.store import Store

NAME = "dagster"
LIVE_DATA_MILLISECONDS = 2000
STATEMENT_MILLISECONDS, RECYCLE_SECONDS, MOST_OVERFLOW = 15_000, 3_600, 20
"""The values of ``dagster-webserver`` for its own database."""
CALLS = ("/graphql",)
READING_ORDER = (
    "entity", "entities", "bms_id", "passportal_id", "bms_ids", "name", "client", "disposition", "reason",
    "create", "match_to", "branch", "allow_duplicate", "changes", "plan_hash", "dry_run", "confirm", "why", "by",
)  # fmt: skip
"""The keys of jobs' configuration: first which records, then what happens to them, then who says so."""


class Vouching:
    """Adds a voucher to each launch that came through the gate, and removes any voucher a request brings along.

    This is a GraphQL middleware: it sees the arguments of a mutation as Dagster takes them, in any notation.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def resolve(self, go_on: Callable[..., Any], root: object, info: Any, **arguments: Any) -> Any:  # noqa: ANN401  # graphene's
        """Resolve one field."""
        if info.parent_type is info.schema.mutation_type:
            _remove_vouchers(arguments)
            self._vouch(info, arguments)
        return go_on(root, info, **arguments)

    def _vouch(self, info: Any, arguments: Mapping[str, Any]) -> None:  # noqa: ANN401  # graphene's
        visitor: Visitor = info.context.source.scope[VISITOR]
        launches = [*(arguments.get("executionParamsList") or []), arguments.get("executionParams")]
        for parameters in launches:
            if parameters:
                job = parameters["selector"].get("jobName") or parameters["selector"].get("pipelineName")
                config = parse_run_config_input(parameters.get("runConfigData") or {}, raise_on_error=False)
                metadata = parameters.get("executionMetadata") or {}
                tag = self._tag(str(job), config, visitor)
                parameters["executionMetadata"] = {**metadata, "tags": [*(metadata.get("tags") or []), tag]}
        again = arguments.get("reexecutionParams")
        if again and info.field_name in ("launchRunReexecution", "launchPipelineReexecution"):
            parent = info.context.instance.get_run_by_id(again["parentRunId"])
            if parent is not None:
                tag = self._tag(parent.job_name, parent.run_config, visitor)
                again["extraTags"] = [*(again.get("extraTags") or []), tag]

    def _tag(self, job: str, config: object, visitor: Visitor) -> dict[str, str]:
        known = config if isinstance(config, Mapping) else {}
        return {"key": vouching.TAG, "value": vouching.vouch(self._store, job, known, visitor.name)}


class ReadingOrder:
    """Puts the keys of a launchpad's defaults in the order in which a person reads them.

    Dagster sorts them by the alphabet. This GraphQL middleware changes the text that a launchpad begins with.
    """

    def resolve(self, go_on: Callable[..., Any], root: object, info: Any, **arguments: Any) -> Any:  # noqa: ANN401  # graphene's
        """Resolve one field."""
        found = go_on(root, info, **arguments)
        return in_reading_order(found) if info.field_name == "rootDefaultYaml" and isinstance(found, str) else found


def in_reading_order(text: str) -> str:
    """Return the YAML ``text`` with its keys in reading order; keys without a place in it come first, as they were."""
    ordered = _ordered(load_run_config_yaml(text))
    return dump_run_config_yaml(ordered, sort_keys=False) if ordered else text


def _ordered(value: Any) -> Any:  # noqa: ANN401  # YAML
    if not isinstance(value, dict):
        return value
    keys = sorted(value, key=lambda key: READING_ORDER.index(key) if key in READING_ORDER else -1)
    return {key: _ordered(value[key]) for key in keys}


class Webserver(DagsterWebserver[WorkspaceProcessContext, Any]):
    """Dagster's web server, with a voucher for each launch."""

    def __init__(self, context: WorkspaceProcessContext, store: Store) -> None:
        self._store = store
        super().__init__(context, live_data_poll_rate=LIVE_DATA_MILLISECONDS)

    def build_graphql_middleware(self) -> list[Any]:
        """Add the vouchers, and the order of defaults, where Dagster takes GraphQL middleware."""
        return [*super().build_graphql_middleware(), Vouching(self._store), ReadingOrder()]


def behind_gate(context: WorkspaceProcessContext, door: Door) -> ASGIApp:
    """Return Dagster's pages behind ``door``."""
    app: Starlette = Webserver(context, door.store).create_asgi_app(lifespan=_lifespan)
    return Gate(app, door, calls=CALLS)


def main() -> None:
    """Serve on the inherited socket until SIGTERM."""
    parser = argparse.ArgumentParser(description="Serve Dagster's pages behind the gate.")
    parser.add_argument("--socket", type=int, required=True, help="The descriptor of a listening socket.")
    parser.add_argument("--workspace", action="append", required=True)
    options = parser.parse_args()
    os.umask(0o077)
    with following(), suppress(Stopped), stopped_by_signals(), socket.socket(fileno=options.socket) as listener:
        configure_loggers(log_level="INFO")
        logging.getLogger("dagster-webserver").setLevel(logging.INFO)
        _serve(listener, [str(Path(workspace).absolute()) for workspace in options.workspace])


def _serve(listener: socket.socket, workspaces: list[str]) -> None:
    settings = read_settings()
    host, port = listener.getsockname()[:2]
    door = Door.of(settings, port, behind_proxy=True)
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(STATEMENT_MILLISECONDS, RECYCLE_SECONDS, MOST_OVERFLOW)
        with WorkspaceProcessContext(
            instance, version=__version__, workspace_load_target=WorkspaceFileTarget(workspaces)
        ) as context:
            shown = "127.0.0.1" if host in ("0.0.0.0", "127.0.0.1") else host  # noqa: S104  # compared, not bound
            with door.store.serving(NAME, f"http://{shown}:{port}"):
                serve(behind_gate(context, door), listener)


def _remove_vouchers(value: object) -> None:
    """Remove every tag reserved for us, wherever ``value`` holds tags."""
    if isinstance(value, Mapping):
        for part in value.values():
            _remove_vouchers(part)
    elif isinstance(value, list):
        value[:] = [part for part in value if not _is_voucher(part)]
        for part in value:
            _remove_vouchers(part)


def _is_voucher(value: object) -> bool:
    return isinstance(value, Mapping) and str(value.get("key", "")).strip() == vouching.TAG


@asynccontextmanager
async def _lifespan(_: Starlette) -> AsyncIterator[None]:
    yield


if __name__ == "__main__":
    main()
