"""A running Hopline for each test, spoken to by real OpenTelemetry SDKs."""

import json
import os
import pathlib
import subprocess
import time

import requests

BINARY = os.environ.get("HOPLINE_BIN", str(pathlib.Path(__file__).parents[3] / "target/debug/hopline"))
PATIENCE = 60


def until(what, condition):
    """Polls until `condition()` is true, and gives its value."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"still not so: {what}")


class Server:
    """One `hopline serve` with its data in `folder`/data."""

    def __init__(self, folder, config=""):
        self.folder, self.data = folder, folder / "data"
        (folder / "hopline.toml").write_text(config)
        self.start()

    def start(self):
        self.data.mkdir(exist_ok=True)
        (self.data / "server.json").unlink(missing_ok=True)
        command = [BINARY, "serve", "--data", self.data, "--config", self.folder / "hopline.toml"]
        for flag in ("--otlp-grpc", "--otlp-http", "--api"):
            command += [flag, "127.0.0.1:0"]
        log = open(self.folder / "server.log", "a")
        self.process = subprocess.Popen(command, stdout=log, stderr=log)

        def addresses():
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            path = self.data / "server.json"
            return path.exists() and json.loads(path.read_text())

        where = until("server.json", addresses)
        self.api, self.grpc, self.http = (f"http://{where[k]}" for k in ("api", "otlp_grpc", "otlp_http"))
        until("ready", lambda: self.get("/readyz").status_code == 200)

    def get(self, path, **kwargs):
        return requests.get(self.api + path, timeout=PATIENCE, **kwargs)

    def sql(self, query):
        """Rows as dictionaries."""
        answer = requests.post(f"{self.api}/api/v1/sql", json={"query": query}, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        answer = answer.json()
        assert answer["complete"], answer
        names = [c["name"] for c in answer["columns"]]
        return [dict(zip(names, row)) for row in answer["rows"]]

    def trace(self, trace_id):
        answer = self.get(f"/api/v1/traces/{trace_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, (self.folder / "server.log").read_text()
