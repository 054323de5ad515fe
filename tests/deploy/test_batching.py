"""The queue in front of a model: nothing lost, nothing mixed up, bounded, fair; how the server stops and refuses."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from stm_agent.cli.main import build
from stm_agent.deploy.app import build_app
from stm_agent.deploy.batching import Batcher, Closed, QueueFull
from stm_agent.deploy.product import Product
from stm_agent.deploy.serve import Listening
from stm_agent.deploy.service import ServeOptions, Service
from stm_agent.errors import ConfigError
from stm_agent.testing.serving import serving_app

EVERYWHERE = "0.0.0.0"  # noqa: S104 - never listened on


class CountingModel:
    """Encodes a text of a number as that number; it waits while ``free`` is not set."""

    name, max_tokens, dimension = "counting", 4, 1
    asymmetric, dimensions = False, (1,)
    product = Product(name="counting", source="", run=None, sha256="0" * 64)

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.busy = False
        self.free = threading.Event()
        self.free.set()

    def encode(self, texts):
        self.busy = True
        self.free.wait(30)
        self.batches.append([text for _, text in texts])
        if any(text == "bad" for _, text in texts):
            raise ValueError("no number")
        return np.array([[float(text)] for _, text in texts], dtype=np.float32)

    def tokens(self, texts):
        return [int(text) for _, text in texts]


@pytest.fixture
def model():
    return CountingModel()


def passages(*numbers: int):
    return [("passage", str(number)) for number in numbers]


@contextlib.contextmanager
def batching(model, **options):
    batcher = Batcher(model, **{"capacity": 100, "batch_texts": 8, **options})
    try:
        yield batcher
    finally:
        model.free.set()
        batcher.close()


def test_every_request_gets_its_own_vectors(model):
    with batching(model, capacity=10_000) as batcher:
        futures = [batcher.submit(passages(*range(begin, begin + 1 + begin % 20))) for begin in range(200)]
        for begin, future in enumerate(futures):
            assert future.result(30).vectors[:, 0].tolist() == [float(begin + step) for step in range(1 + begin % 20)]
    assert max(map(len, model.batches)) == 8


def test_what_arrives_meanwhile_is_one_batch(model):
    with batching(model) as batcher:
        model.free.clear()
        first = batcher.submit(passages(0))
        while batcher.waiting:
            time.sleep(0.001)
        others = [batcher.submit(passages(number)) for number in range(1, 6)]
        model.free.set()
        assert [future.result(30).vectors[0, 0] for future in (first, *others)] == [0, 1, 2, 3, 4, 5]
    assert model.batches == [["0"], ["1", "2", "3", "4", "5"]]


def test_a_small_request_does_not_wait_for_a_large_one(model):
    with batching(model) as batcher:
        model.free.clear()
        large = batcher.submit(passages(*range(80)))
        small = batcher.submit(passages(99))
        model.free.set()
        small.result(30)
        assert not large.done() or len(model.batches) >= 10
        large.result(30)
    assert any("99" in batch for batch in model.batches[:3])


def test_tokens_are_counted_up_to_the_window(model):
    with batching(model) as batcher:
        encoded = batcher.submit(passages(2, 9)).result(30)
    assert (encoded.tokens, encoded.truncated) == (2 + 4, 1)


def test_a_full_queue_refuses_and_then_takes_again(model):
    with batching(model, capacity=10) as batcher:
        model.free.clear()
        running = batcher.submit(passages(0))
        while batcher.waiting:
            time.sleep(0.001)
        waiting = batcher.submit(passages(*range(10)))
        with pytest.raises(QueueFull, match="10 texts are waiting, 10 may wait"):
            batcher.submit(passages(1))
        # The server's own work takes no room.
        own = batcher.submit(passages(7), counted=False)
        model.free.set()
        assert all(future.result(30) for future in (running, waiting, own))
        assert batcher.submit(passages(3)).result(30).vectors[0, 0] == 3


def test_an_error_belongs_to_its_batch(model):
    with batching(model) as batcher:
        with pytest.raises(ValueError, match="no number"):
            batcher.submit([("passage", "bad")]).result(30)
        assert batcher.submit(passages(3)).result(30).vectors[0, 0] == 3
        assert batcher.waiting == 0


def test_a_model_that_answers_wrongly_fails_its_batch_alone(model, monkeypatch):
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda texts: encode(texts)[:-1] if len(texts) > 1 else encode(texts))
    with batching(model) as batcher:
        with pytest.raises(ValueError, match="2 texts gave 1 vectors"):
            batcher.submit(passages(1, 2)).result(30)
        assert batcher.submit(passages(3)).result(30).vectors[0, 0] == 3
        assert batcher.alive


def test_a_counter_that_fails_costs_no_answer(model):
    def watch(texts, seconds):
        raise RuntimeError("no room for another series")

    with batching(model, watch=watch) as batcher:
        assert [batcher.submit(passages(number)).result(30).vectors[0, 0] for number in (1, 2)] == [1, 2]


# The thread's fault goes to standard error, as that of any thread.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_leaves_nobody_waiting_and_health_says_so(service, model):
    batcher = service._batchers["counting"]
    model.free.clear()
    running = batcher.submit(passages(1))
    while batcher.waiting:
        time.sleep(0.001)
    waiting = batcher.submit(passages(2))
    batcher._drop_cancelled = None
    model.free.set()
    assert running.result(30).vectors[0, 0] == 1
    with pytest.raises(Closed, match="counting stopped"):
        waiting.result(30)
    batcher._thread.join(30)
    with pytest.raises(Closed):
        batcher.submit(passages(3))
    with serving_app(build_app(service)) as url:
        health = httpx.get(f"{url}/health")
        assert (health.status_code, health.json()["status"], health.json()["failed"]) == (503, "failed", ["counting"])
        assert httpx.post(f"{url}/v1/embeddings", json={"model": "counting", "input": "1"}).status_code == 503


def test_the_texts_of_a_client_that_has_gone_are_not_encoded(service, model):
    batcher = service._batchers["counting"]
    with serving_app(build_app(service)) as url:
        model.free.clear()
        batcher.submit(passages(0))
        while batcher.waiting:
            time.sleep(0.001)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/embeddings", json={"model": "counting", "input": ["5"] * 20}, timeout=0.5)
        end = time.monotonic() + 30
        while not batcher._requests[0].future.cancelled():
            assert time.monotonic() < end
            time.sleep(0.01)
        model.free.set()
        body = {"model": "counting", "input": "6"}
        assert httpx.post(f"{url}/v1/embeddings", json=body, timeout=30).json()["data"][0]["embedding"] == [6.0]
        metrics = httpx.get(f"{url}/metrics").text
    assert [batch for batch in model.batches if "5" in batch] == []
    assert 'stm_agent_requests_total{route="/v1/embeddings",status="499"} 1.0' in metrics


def test_a_cancelled_request_leaves_the_queue(model):
    with batching(model) as batcher:
        model.free.clear()
        batcher.submit(passages(0))
        while batcher.waiting:
            time.sleep(0.001)
        gone = batcher.submit(passages(5, 6))
        assert gone.cancel()
        model.free.set()
        while batcher.waiting:
            time.sleep(0.001)
        assert batcher.alive
        batcher.submit(passages(1)).result(30)
        assert batcher.waiting == 0
    assert not any("5" in batch for batch in model.batches)


def test_closing_answers_what_is_queued(model):
    with batching(model) as batcher:
        model.free.clear()
        futures = [batcher.submit(passages(number)) for number in range(20)]
        own = batcher.submit(passages(*range(50)), counted=False)
        closing = threading.Thread(target=batcher.close)
        closing.start()
        model.free.set()
        closing.join(30)
        assert [future.result(0).vectors[0, 0] for future in futures] == list(range(20))
        assert own.done()
        with pytest.raises(Closed):
            batcher.submit(passages(1))


@pytest.fixture
def service(model, space, monkeypatch):
    monkeypatch.setattr("stm_agent.deploy.service.ServedModel", lambda product: model)
    service = Service([model.product], space, ServeOptions(capacity=64))
    yield service
    model.free.set()
    service.close()


def test_requests_at_a_busy_model_are_answered_or_refused_and_none_is_lost(service, model):
    """The queue never holds more than it may; a refused client tries again. benchmarks/deploy.py sends a thousand."""
    with serving_app(build_app(service)) as url, httpx.Client(timeout=60) as client:
        model.free.clear()
        # One text alone is in the first batch, so that the queue is full before the 80 clients have asked.
        service._batchers["counting"].submit(passages(0))
        while not model.busy:
            time.sleep(0.001)
        most, refused = [0], [0]

        def ask(number: int) -> float:
            while True:
                answer = client.post(f"{url}/v1/embeddings", json={"model": "counting", "input": str(number)})
                most[0] = max(most[0], service.health()["waiting_texts"]["counting"])
                if answer.status_code == 200:
                    return answer.json()["data"][0]["embedding"][0]
                assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
                refused[0] += 1
                model.free.set()
                time.sleep(0.1)

        with ThreadPoolExecutor(80) as clients:
            assert list(clients.map(ask, range(200))) == list(range(200))
    assert refused[0] > 0
    assert most[0] <= 64


def test_a_stopping_server_answers_what_is_in_flight(service, model):
    with serving_app(build_app(service)) as url, ThreadPoolExecutor(1) as client:
        model.free.clear()
        body = {"model": "counting", "input": "7"}
        asked = client.submit(httpx.post, f"{url}/v1/embeddings", json=body, timeout=60)
        while not model.busy:
            time.sleep(0.001)
        threading.Timer(0.2, model.free.set).start()
        # Leaving the block asks the server to stop.
    assert asked.result(30).json()["data"][0]["embedding"] == [7.0]


HALF = {
    "half the headers": b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\n",
    "half a body": b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"content-length: 100\r\n\r\n{",
}


@pytest.mark.parametrize("name", HALF)
def test_a_half_sent_request_is_closed(service, monkeypatch, name):
    from stm_agent.web import bodies, deadlines

    monkeypatch.setattr(deadlines, "HEADER_SECONDS", 0.2)
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    with serving_app(build_app(service)) as url, socket.create_connection(url.rpartition("/")[2].split(":")) as sent:
        sent.sendall(HALF[name])
        received = b""
        while piece := sent.recv(65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 408") == (name == "half a body")


def test_a_thousand_open_connections_leave_room_for_one_more(service):
    from stm_agent.web.address import allow_open_files

    allow_open_files()
    with serving_app(build_app(service)) as url, contextlib.ExitStack() as opened:
        address = tuple(url.rpartition("/")[2].split(":"))
        for _ in range(1000):
            opened.enter_context(socket.create_connection(address))
        assert httpx.get(f"{url}/health", timeout=60).json()["status"] == "ok"


def test_a_port_in_use_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port} .*use another --port"):
            Listening(port=port).checked_port()


def test_every_server_in_the_container_listens_where_others_reach_it(plain):
    """Arguments of ``docker run`` replace the Dockerfile's CMD, and nothing else of it."""
    dockerfile = (Path(__file__).parents[2] / "Dockerfile").read_text(encoding="utf-8")
    environment = dict(re.findall(r"^ENV (STM_AGENT_\w+)=(\S+)$", dockerfile, flags=re.MULTILINE))
    served = CliRunner().invoke(build(), ["serve", str(plain / "model"), "--port", "0"], env=environment)
    assert "anybody who reaches 0.0.0.0 could use the model" in str(served.exception)
    assert 'CMD ["serve", "last"]' in dockerfile


def test_others_are_not_served_without_a_key():
    with pytest.raises(ConfigError, match=r"anybody who reaches 0\.0\.0\.0"):
        Listening(host=EVERYWHERE, port=0).checked_port()
    assert Listening(host=EVERYWHERE, port=0, key="k").checked_port()
    assert Listening(host=EVERYWHERE, port=0, public=True).checked_port()
