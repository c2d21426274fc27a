"""One running Hopline and one AWS for all tests here."""

import pytest

from cloud import Cloud
from functions import AWS
from hopline import Hopline


@pytest.fixture(scope="session")
def hop(tmp_path_factory):
    hop = Hopline(tmp_path_factory.mktemp("hopline"))
    yield hop
    hop.provider.shutdown()
    hop.server.stop()


@pytest.fixture(scope="session")
def cloud(hop):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AWS.items():
            patch.setenv(name, value)
        cloud = Cloud(hop.server)
        yield cloud
        cloud.stop()
