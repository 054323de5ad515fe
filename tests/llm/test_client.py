"""The client: paid once, counted, limited, retried."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from stm_agent.errors import BudgetExceeded, ConfigError, GenerationError
from stm_agent.files import read_jsonl
from stm_agent.llm.budget import Budget
from stm_agent.llm.client import LlmClient
from stm_agent.llm.embedded import EmbeddedProvider
from stm_agent.llm.open import open_client
from stm_agent.llm.options import LlmOptions
from stm_agent.llm.retrying import retry_after
from stm_agent.llm.scripted import scripted

CHAT = [{"role": "user", "content": "hello"}]


def test_same_request_is_paid_once_over_processes(tmp_path: Path) -> None:
    first = scripted(["one", "two"], tmp_path, usd=0.01)
    assert not first.complete(CHAT).cached
    assert first.complete(CHAT).text == "one"
    again = scripted([], tmp_path)
    done = again.complete(CHAT)
    assert (done.text, done.cached, done.usd) == ("one", True, 0.0)
    assert len(read_jsonl(tmp_path / "llm.jsonl")) == 1


def test_another_rollout_is_another_sample(tmp_path: Path) -> None:
    client = scripted(["one", "two"], tmp_path)
    assert [client.complete(CHAT, rollout=number).text for number in (0, 1, 0)] == ["one", "two", "one"]


def test_budget_stops_before_the_call(tmp_path: Path) -> None:
    client = scripted(["one", "two", "three"], tmp_path, usd=0.6, budget=Budget(usd=1.0))
    client.complete(CHAT, rollout=0)
    client.complete(CHAT, rollout=1)
    with pytest.raises(BudgetExceeded, match="--budget-usd"):
        client.complete(CHAT, rollout=2)
    assert client.budget.spent.calls == 2


def test_resumed_run_has_already_spent(tmp_path: Path) -> None:
    ledger = tmp_path / "llm.jsonl"
    client = open_client(LlmOptions(model="scripted:numbered"), cache=tmp_path / "c", ledger=ledger, budget=Budget())
    client.complete(CHAT)
    budget = Budget()
    open_client(LlmOptions(model="scripted:numbered"), cache=tmp_path / "c", ledger=ledger, budget=budget)
    assert budget.spent.calls == 1


def test_unknown_generator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody/nothing"):
        open_client(LlmOptions(model="nobody/nothing"), cache=tmp_path, ledger=tmp_path / "l", budget=Budget())


class Server(BaseHTTPRequestHandler):
    """Answers as OpenAI does; the first request is refused with a rate limit."""

    seen = 0
    bodies: ClassVar[list[dict[str, object]]] = []

    def do_POST(self) -> None:
        type(self).seen += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.bodies.append(body)
        if body["model"] == "locked":
            self.reply(401, {"error": {"message": "no key", "type": "auth", "code": "401"}})
        elif type(self).seen == 1:
            self.reply(429, {"error": {"message": "slow down", "type": "rate", "code": "429"}})
        else:
            text = f"you said {body['messages'][-1]['content']}"
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
            self.reply(
                200,
                {
                    "id": "1",
                    "object": "chat.completion",
                    "created": 1,
                    "model": body["model"],
                    "choices": [choice],
                    "usage": usage,
                },
            )

    def reply(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("retry-after", "0")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


def _served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def api_base(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    Server.seen = 0
    yield from _served(Server)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_openai_compatible_server_is_one_flag_and_rate_limits_are_waited_for(api_base: str, tmp_path: Path) -> None:
    client = open_client(
        LlmOptions(model="openai/local", api_base=api_base),
        cache=tmp_path / "c",
        ledger=tmp_path / "l.jsonl",
        budget=Budget(),
    )
    done = client.complete(CHAT)
    assert done.text == "you said hello"
    assert (done.prompt_tokens, done.completion_tokens) == (3, 4)
    assert Server.seen == 2
    assert read_jsonl(tmp_path / "l.jsonl")[0]["price_known"] is False


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_refused_key_is_not_tried_again(api_base: str, tmp_path: Path) -> None:
    client = open_client(
        LlmOptions(model="openai/locked", api_base=api_base), cache=tmp_path, ledger=tmp_path / "l", budget=Budget()
    )
    with pytest.raises(GenerationError, match="API key"):
        client.complete(CHAT)
    assert Server.seen == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_samples_of_one_prompt_go_to_one_slot_of_the_embedded_server(
    api_base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = api_base.removesuffix("/v1")
    monkeypatch.setattr("xllamacpp.Server", lambda parameters: SimpleNamespace(listening_address=address))
    monkeypatch.setattr("stm_agent.llm.embedded.decoder_file", Path)
    provider = EmbeddedProvider("embedded:smollm2-135m", slots=2)
    for seed in (3, 4):
        provider.answer(CHAT, temperature=0.5, max_tokens=8, seed=seed)
    assert [body["id_slot"] for body in Server.bodies[-2:]] == [0, 0]
    provider.close()


def test_the_wait_that_a_provider_asks_for_is_read_as_seconds_or_as_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < (retry_after(later) or 0) <= 30
    asked = [retry_after(value) for value in ("7", "0.5", "-1", "Thu, 01 Jan 2015 00:00:00 GMT", "soon", None)]
    assert asked == [7, 0.5, 0, 0, None, None]


def test_a_streamed_answer_is_cached_and_charged_as_any_other(tmp_path):
    client = scripted(["one two three"], tmp_path, usd=0.5)
    chat = [{"role": "user", "content": "count"}]
    pieces: list[str] = []
    stream = client.stream(chat)
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            done = end.value
            break
    assert pieces == ["one ", "two ", "three"]
    assert (done.text, done.usd, done.cached) == ("one two three", 0.5, False)
    assert client.complete(chat).cached, "the same request, streamed or not, is paid once"
    assert list(client.stream(chat)) == ["one two three"]
    assert client.budget.spent.usd == 0.5


def test_a_stream_left_early_is_not_in_the_cache(tmp_path):
    client = scripted(["one two three", "four"], tmp_path)
    chat = [{"role": "user", "content": "count"}]
    stream = client.stream(chat)
    assert next(stream) == "one "
    stream.close()
    assert client.complete(chat).text == "four"


class Streamer(BaseHTTPRequestHandler):
    """Streams as OpenAI does, well or badly, by the model's name."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if body["model"] == "garbage":
            self.wfile.write(b"data: {<html>}\n\n")
            return
        for piece in [] if body["model"] == "silent" else ["one ", "two"]:
            self.chunk({"delta": {"role": "assistant", "content": piece}, "finish_reason": None})
        if body["model"] == "dies":
            # The connection ends in the middle of a chunk, as when a server is killed.
            self.wfile.write(b'data: {"id": "1", "obj')
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.chunk({"delta": {}, "finish_reason": "stop"})
        self.wfile.write(b"data: [DONE]\n\n")

    def chunk(self, choice: dict[str, object]) -> None:
        about = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        self.wfile.write(f"data: {json.dumps({**about, 'choices': [{'index': 0, **choice}]})}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def streaming(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setattr("stm_agent.llm.retrying._wait", lambda state: 0.0)
    yield from _served(Streamer)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_streams_and_a_bad_stream_is_an_error_and_not_cached(streaming: str, tmp_path: Path) -> None:
    def client_of(model: str) -> LlmClient:
        folder = tmp_path / model
        ledger = folder / "l.jsonl"
        options = LlmOptions(model=f"openai/{model}", api_base=streaming)
        return open_client(options, cache=folder, ledger=ledger, budget=Budget())

    def ask(model: str) -> list[str]:
        return list(client_of(model).stream(CHAT))

    assert "".join(ask("well")) == "one two"
    (paid,) = read_jsonl(tmp_path / "well" / "l.jsonl")
    assert paid["completion_tokens"] > 0
    for model in ("dies", "garbage", "silent"):
        with pytest.raises(GenerationError, match=model):
            ask(model)
        with pytest.raises(GenerationError, match=model):
            client_of(model).complete(CHAT)
        assert not list((tmp_path / model).rglob("*.json")), "a broken answer is never cached"


def test_the_same_name_at_another_server_is_another_model(tmp_path):
    chat = [{"role": "user", "content": "who are you"}]
    one = scripted(["first"], tmp_path)
    elsewhere = LlmOptions(model="scripted:test", api_base="http://127.0.0.1:9/v1")
    other = scripted(["second"], tmp_path, options=elsewhere)
    assert (one.complete(chat).text, other.complete(chat).text) == ("first", "second")
    assert one.identity != other.identity
