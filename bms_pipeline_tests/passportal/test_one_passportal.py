"""A home folder keeps to one Passportal: the ids that it holds mean other records in any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bms_pipeline.core.entities import CLIENTS
from bms_pipeline.core.errors import PipelineError, SettingsError
from bms_pipeline.passportal.documents.target import DocumentsPassportal
from bms_pipeline.sync import loading, passportal_snapshot, services, whole_sync
from bms_pipeline_tests.building import new_warehouse
from bms_pipeline_tests.passportal.conftest import Service


def test_who_opens_passportal_closes_it_whatever_happens(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = service.settings(
        bms_url="https://bms.example", bms_tenant="t", bms_username="u", bms_password=SecretStr("p")
    )
    new_warehouse(settings.warehouse_file)
    opened: list[DocumentsPassportal] = []
    closed: list[DocumentsPassportal] = []
    begin = DocumentsPassportal.__init__

    def remembered(target: DocumentsPassportal, *given: Any, **named: Any) -> None:
        opened.append(target)
        begin(target, *given, **named)

    monkeypatch.setattr(DocumentsPassportal, "__init__", remembered)
    monkeypatch.setattr(DocumentsPassportal, "close", lambda target: closed.append(target))
    monkeypatch.setattr(services, "BmsClient", lambda _: 1 / 0)
    for verb in (loading.finish, lambda _: list(whole_sync.import_clients(settings, [1])), whole_sync.read_services):
        with pytest.raises((PipelineError, ZeroDivisionError)):
            verb(settings)
    assert len(opened) >= 3
    assert closed == opened


def test_a_home_folder_keeps_to_the_passportal_that_it_read_first(service: Service, tmp_path: Path) -> None:
    settings = service.settings()
    warehouse = new_warehouse(settings.warehouse_file)
    for _ in range(2):
        assert passportal_snapshot.snapshot(settings, warehouse, services.open_target(settings), CLIENTS) == 2
    service.calls()
    for other in ({"passportal_target": "embedded"}, {"passportal_url": service.url.replace("127.0.0.1", "localhost")}):
        another = service.settings(**other)
        for verb in (
            lambda another=another: passportal_snapshot.snapshot(
                another, warehouse, services.open_target(another), CLIENTS
            ),
            lambda another=another: loading.finish(another),
            lambda another=another: list(whole_sync.import_clients(another, [1])),
        ):
            with pytest.raises(SettingsError) as error:
                verb()
            assert services.open_target(another).name in error.value.message
            assert f"documents_api {service.url}" in error.value.message
    assert service.calls() == {}
