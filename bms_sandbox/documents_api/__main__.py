"""``python -m bms_sandbox.documents_api``: fill a Passportal from a saved tenant once, and serve it."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bms_sandbox.documents_api import seed
from bms_sandbox.documents_api.behaviour import PassportalBehaviour
from bms_sandbox.documents_api.security import KEY_ID, SECRET
from bms_sandbox.documents_api.server import create_app
from bms_sandbox.documents_api.store import Store
from bms_sandbox.documents_api.templates import TEMPLATES, TenantTemplates, file_of, read_templates
from bms_sandbox.serving import serve_app


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line with the address and the (public) access key when ready, then serve."""
    parent = os.getppid()
    options = _options(arguments)
    asked = file_of(options.language) if options.language else options.templates
    store, switches = open_store(options.folder, options.tenant, asked)
    behaviour = PassportalBehaviour().changed({**switches, **json.loads(options.behaviour)})
    serve_app(
        create_app(store, behaviour),
        port=options.port,
        ready=lambda url: print(json.dumps({"url": url, "key_id": KEY_ID, "secret": SECRET}), flush=True),
        parent=parent if options.exit_with_parent else None,
    )


def open_store(
    folder: Path, tenant_folder: Path, templates_file: Path | None = None
) -> tuple[Store, Mapping[str, Any]]:
    """The Passportal in ``folder``, as it was left; on first use what the saved tenant's Passportal holds.

    Also the switches that its tenant begins with. The templates of the first use, those of ``templates_file`` if there
    is one, stay with it: its documents are made by them.
    """
    file, own = folder / "passportal.ndjson", folder / "templates.toml"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        tenant = read_templates(templates_file) if templates_file else TenantTemplates(TEMPLATES)
        if templates_file:
            own.write_bytes(templates_file.read_bytes())
        Store.make(file, seed.records(tenant_folder, int(time.time()), tenant.by_id))
    else:
        tenant = read_templates(own) if own.exists() else TenantTemplates(TEMPLATES)
    return Store(file, tenant.by_id), tenant.switches


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bms_sandbox.documents_api", description=main.__doc__)
    parser.add_argument("--tenant", type=Path, required=True, help="the folder of a saved sandbox tenant")
    parser.add_argument("--folder", type=Path, required=True, help="where this Passportal lives")
    parser.add_argument("--language", default="", help="the language of its templates, as de; default: English")
    parser.add_argument("--templates", type=Path, help="a TOML file with templates of its own")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--behaviour", default="{}", help="switches as JSON")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when the starting process is gone")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
