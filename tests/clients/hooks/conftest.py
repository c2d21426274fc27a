"""A moto server that plays AWS, for Python's and Node's SDK alike, and spans kept in memory."""

import io
import pathlib
import sys
import zipfile

import boto3
import pytest
import requests

sys.path.insert(0, str(pathlib.Path(__file__).parents[3] / "hooks/python"))

FAKE = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}


@pytest.fixture(scope="session")
def _moto():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(_moto):
    """The address of an AWS without anything in it."""
    requests.post(f"{_moto}/moto-api/reset", timeout=10).raise_for_status()
    return _moto


@pytest.fixture(autouse=True)
def _no_account(monkeypatch):
    for name, value in FAKE.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def make_function(aws):
    """Creates functions that moto invokes without Docker."""

    def make(name):
        config = {"lambda": {"use_docker": False}}
        requests.post(f"{aws}/moto-api/config", json=config, timeout=10).raise_for_status()
        role = boto3.client("iam", endpoint_url=aws).create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("f.py", "")
        functions = boto3.client("lambda", endpoint_url=aws)
        functions.create_function(
            FunctionName=name, Runtime="python3.13", Role=role, Handler="f.f", Code={"ZipFile": code.getvalue()}
        )
        return name

    return make
