"""A field that is a link: written by id where doctor proved it, never by name, never over a person's link or text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bms_pipeline_tests.passportal.conftest import Service
from bms_pipeline_tests.sync.linked import ANN, DEPOT, HQ, LinkedWorld, linked_world
from bms_sandbox.documents_api.store import Link


@pytest.fixture
def tenant(empty_service: Service) -> Iterator[LinkedWorld]:
    """Synced without a mapping; then doctor proved links and a person mapped the location as one."""
    with linked_world(empty_service) as tenant:
        assert tenant.prove() == "by their id"
        tenant.cycle()
        tenant.map()
        yield tenant


def test_a_link_is_written_by_the_id_of_the_match_and_the_second_sync_plans_nothing(tenant: LinkedWorld) -> None:
    plan = tenant.cycle()
    assert plan.operations == 1
    assert tenant.held("John Smith") == Link("HQ", HQ, "location")
    assert tenant.plan().operations == 0
    assert tenant.unlinked() == {}
