"""A clone of the project with a Prefect server of its own, for tests that run the flow for real."""

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.checkout import Checkout, end, make_checkout


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """One copy for the whole session, with its data pulled."""
    made = make_checkout(tmp_path_factory.mktemp("checkout") / "elysium")
    made.run("dvc", "pull", "data.dvc")
    return made


@pytest.fixture(scope="session")
def server(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """The copy, with a Prefect server on 127.0.0.1 that its commands talk to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "server.log"
    process = checkout.start("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), log=log)
    api = f"http://127.0.0.1:{port}/api"
    try:
        _wait(api + "/health", process, log)
        yield Checkout(checkout.path, {**checkout.environment, "PREFECT_API_URL": api})
    finally:
        end(process)


def _wait(url: str, process: "subprocess.Popen[str]", log: Path, seconds: float = 180) -> None:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.5)
    raise AssertionError(f"no answer from {url} after {seconds} s\n{log.read_text()}")
