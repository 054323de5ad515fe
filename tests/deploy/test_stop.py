"""A server that is asked to stop answers what is in flight, and ends with success."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import httpx

START_SECONDS = 120


def test_what_is_in_flight_is_answered_and_the_status_is_success(plain):
    flags = ["--port", "0", "--json", "--input-type", "query"]
    command = [sys.executable, "-m", "stm_agent", "serve", str(plain / "model"), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}) as server:
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            # The address is printed once it takes connections.
            assert httpx.get(f"{url}/health", timeout=START_SECONDS).status_code == 200
            answers: list[httpx.Response] = []
            body = {"model": "model", "input": ["swollen " * 100] * 2048}
            asking = threading.Thread(
                target=lambda: answers.append(httpx.post(f"{url}/v1/embeddings", json=body, timeout=START_SECONDS))
            )
            asking.start()
            _wait(lambda: httpx.get(f"{url}/health").json()["waiting_texts"]["model"] > 0)
            server.send_signal(signal.SIGTERM)
            assert server.wait(START_SECONDS) == 0
            asking.join()
            assert len(answers[0].json()["data"]) == 2048
        finally:
            server.kill()


def _wait(ready) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            if ready():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.01)
    raise AssertionError("the server did not come that far")
