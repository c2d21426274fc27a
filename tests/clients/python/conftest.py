"""A running Hopline for each test, spoken to by real OpenTelemetry SDKs."""

import pytest
from server import Server


@pytest.fixture
def server(tmp_path, request):
    server = Server(tmp_path, getattr(request, "param", ""))
    yield server
    server.kill()
