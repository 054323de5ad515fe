"""A server of one's own that breaks in the middle of its answers is asked again, and every try is counted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stm_agent.errors import AnswerRejected
from stm_agent.llm.budget import Budget
from stm_agent.llm.client import LlmClient
from stm_agent.llm.open import open_client
from stm_agent.llm.options import LlmOptions
from stm_agent.llm.own_server import OwnServerProvider

CHAT = [{"role": "user", "content": "hello"}]
WHOLE = json.dumps({"choices": [{"message": {"content": "an answer"}, "finish_reason": "stop"}]})


class Breaking(BaseHTTPRequestHandler):
    """Sends the bodies of its class in order, and the last one from then on; announces each as whole."""

    bodies: tuple[str, ...] = ()
    seen = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = self.bodies[min(type(self).seen, len(self.bodies) - 1)]
        type(self).seen += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(WHOLE) if body == WHOLE[:20] else len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Stay silent."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("stm_agent.llm.retrying._wait", lambda state: 0.0)
    Breaking.seen = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Breaking)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def client_of(url: str, folder: Path) -> LlmClient:
    options = LlmOptions(model="openai/local", api_base=url)
    return open_client(options, cache=folder / "c", ledger=folder / "l.jsonl", budget=Budget(), api_key="key")


def test_broken_json_and_a_cut_connection_are_asked_again(url: str, tmp_path: Path) -> None:
    Breaking.bodies = (WHOLE[:30], WHOLE[:20], WHOLE)
    client = client_of(url, tmp_path)
    assert isinstance(client.provider, OwnServerProvider)
    done = client.complete(CHAT)
    client.close()
    assert (done.text, done.tries, client.budget.spent.calls) == ("an answer", 3, 3)


@pytest.mark.parametrize(("body", "reason"), [("{}", "empty"), ("[]", "empty"), ('{"choices": []}', "empty")])
def test_an_answer_without_a_text_is_rejected_and_not_stored(url: str, tmp_path: Path, body: str, reason: str) -> None:
    Breaking.bodies = (body,)
    client = client_of(url, tmp_path)
    with pytest.raises(AnswerRejected) as rejected:
        client.complete(CHAT)
    client.close()
    assert rejected.value.reason == reason
    assert not list((tmp_path / "c").rglob("*.json"))


def test_a_server_that_never_answers_whole_costs_that_chat(url: str, tmp_path: Path) -> None:
    Breaking.bodies = ("{",)
    client = client_of(url, tmp_path)
    with pytest.raises(AnswerRejected, match="not JSON"):
        client.complete(CHAT)
    client.close()
    assert client.budget.spent.calls == Breaking.seen == 5
