"""One way to bring a served list of contacts into DuckDB: ``python -m benchmarks.ways_to_land WAY URL FOLDER``.

Prints one JSON line: seconds without imports, peak memory in MiB, rows, and what else the way knows of itself.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import requests
from pydantic import SecretStr

from bms_pipeline.bms.client import BmsClient
from bms_pipeline.bms.sweep.sweeper import sweep
from bms_pipeline.core.entities import BY_NAME, CONTACTS_LIST
from bms_pipeline.core.settings import Settings
from bms_pipeline.warehouse import landing
from bms_pipeline.warehouse.connection import Warehouse
from bms_sandbox.security import PASSWORD, TENANT, USER

ADDRESS_LIKE = (
    "STRUCT(id BIGINT, createdBy BIGINT, createdOn TIMESTAMP, modifiedBy BIGINT, modifiedOn TIMESTAMP, {0} VARCHAR,"
    " {0}TypeId BIGINT, {0}Type VARCHAR, isDefault BOOLEAN)[]"
)
ALL_COLUMNS = {
    **dict.fromkeys(("id", "createdBy", "modifiedBy", "accountId", "locationId"), "BIGINT"),
    **dict.fromkeys(("createdOn", "modifiedOn", "effectiveDate"), "TIMESTAMP"),
    **dict.fromkeys(("accountName", "locationName", "firstName", "lastName", "jobTitle"), "VARCHAR"),
    **dict.fromkeys(("isPoc", "isActive", "isBillable", "canRecieveInvoices"), "BOOLEAN"),
    "emails": ADDRESS_LIKE.format("email").replace("email VARCHAR", "emailAddress VARCHAR"),
    "phones": ADDRESS_LIKE.format("phone"),
}


def ours(url: str, folder: Path) -> dict[str, Any]:
    """Extract and land, as ``bms-pipeline sync`` does it."""
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]  # pydantic adds it
        bms_url=url,
        bms_tenant=TENANT,
        bms_username=USER,
        bms_password=SecretStr(PASSWORD),
        bms_pipeline_home=folder,
        bms_calls_per_hour=10**9,
    )
    warehouse = Warehouse(settings.warehouse_file)
    with warehouse.open():
        pass
    began = time.perf_counter()
    with BmsClient(settings) as client:
        manifest = sweep(client, CONTACTS_LIST, settings.landing_folder, connections=settings.bms_connections)
    extracted = time.perf_counter() - began
    pages = settings.landing_folder / "contacts" / manifest.sweep
    with warehouse.transaction() as connection:
        swept = landing.Sweep(pages, proves_absence=True, is_full=True)
        landed = landing.land_sweep(connection, BY_NAME["contacts"], swept, datetime(2026, 1, 1))
    return {
        "seconds": time.perf_counter() - began,
        "extract": extracted,
        "rows": landed.added,
        "calls": manifest.calls_made,
        "necessary": manifest.calls_necessary,
        "complete": manifest.complete,
    }


def read_json(_: str, folder: Path) -> dict[str, Any]:
    """DuckDB's own ``read_json`` of the bytes that ``ours`` landed: the limit for anything that reads them."""
    began = time.perf_counter()
    with duckdb.connect(str(folder / "read_json.duckdb"), config={"preserve_insertion_order": False}) as connection:
        connection.execute(
            "CREATE TABLE contacts AS SELECT * FROM read_json($files, format = 'array', columns = $columns)",
            {"files": str(folder / "landing/contacts/*/*.json.zst"), "columns": ALL_COLUMNS},
        )
        rows = connection.execute("SELECT count(*) FROM contacts").fetchone()
    return {"seconds": time.perf_counter() - began, "rows": rows[0] if rows else 0}


def pandas_loop(url: str, folder: Path) -> dict[str, Any]:
    """The loop that everybody writes first: requests, ``json_normalize``, insert."""
    import pandas

    began = time.perf_counter()
    with duckdb.connect(str(folder / "pandas.duckdb")) as connection:
        for number, records in enumerate(_pages(url)):
            frame = pandas.json_normalize(records)
            frame["emails"], frame["phones"] = frame["emails"].map(json.dumps), frame["phones"].map(json.dumps)
            connection.register("page", frame)
            if number == 0:
                connection.execute(
                    "CREATE TABLE contacts AS SELECT * REPLACE (NULL::VARCHAR AS effectiveDate) FROM page"
                )
            else:
                connection.execute(
                    "INSERT INTO contacts BY NAME SELECT * REPLACE (NULL::VARCHAR AS effectiveDate) FROM page"
                )
        rows = connection.execute("SELECT count(*) FROM contacts").fetchone()
    return {"seconds": time.perf_counter() - began, "rows": rows[0] if rows else 0}


def dlt_rest(url: str, folder: Path) -> dict[str, Any]:
    """Dlt's REST source, merged into DuckDB by id."""
    os.environ |= {"DLT_DATA_DIR": str(folder / "dlt"), "RUNTIME__DLTHUB_TELEMETRY": "false"}
    import dlt
    from dlt.sources.rest_api import rest_api_source

    began = time.perf_counter()
    source = rest_api_source(
        {
            "client": {
                "base_url": url,
                "auth": {"type": "bearer", "token": _token(url)},
                "paginator": {
                    "type": "page_number",
                    "base_page": 1,
                    "page_param": "PageNumber",
                    "total_path": None,
                    "stop_after_empty_page": True,
                },
            },
            "resources": [
                {
                    "name": "contacts",
                    "primary_key": "id",
                    "write_disposition": "merge",
                    "endpoint": {"path": CONTACTS_LIST.path, "params": {"PageSize": 100}, "data_selector": "result"},
                }
            ],
        }
    )
    pipeline = dlt.pipeline(
        "contacts", destination=dlt.destinations.duckdb(str(folder / "dlt.duckdb")), dataset_name="bms"
    )
    pipeline.run(source)
    with duckdb.connect(str(folder / "dlt.duckdb")) as connection:
        rows = connection.execute("SELECT count(*) FROM bms.contacts").fetchone()
    return {"seconds": time.perf_counter() - began, "rows": rows[0] if rows else 0}


def _token(url: str) -> str:
    form = {"GrantType": "password", "UserName": USER, "Password": PASSWORD, "Tenant": TENANT}
    answer = requests.post(f"{url}/v2/security/authenticate", data=form, timeout=60)
    return str(answer.json()["result"]["accessToken"])


def _pages(url: str) -> Iterator[list[dict[str, Any]]]:
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {_token(url)}"
        number = 1
        while True:
            query: dict[str, str | int] = {"PageSize": 100, "PageNumber": number}
            answer = session.get(f"{url}{CONTACTS_LIST.path}", params=query, timeout=60).json()
            if not answer["result"]:
                return
            yield answer["result"]
            if number * 100 >= answer["totalRecords"]:
                return
            number += 1


WAYS: dict[str, Callable[[str, Path], dict[str, Any]]] = {
    "ours": ours,
    "read_json": read_json,
    "pandas": pandas_loop,
    "dlt": dlt_rest,
}

if __name__ == "__main__":
    measured = WAYS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
    print(json.dumps({**measured, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
