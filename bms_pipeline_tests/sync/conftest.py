"""The sandbox's Passportal on a real socket, for worlds that need links."""

from bms_pipeline_tests.passportal.conftest import empty_service, server

__all__ = ["empty_service", "server"]
