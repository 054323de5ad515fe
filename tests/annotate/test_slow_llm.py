"""An LLM that takes its time: nobody else waits for it, what had come of it is kept, and few ask it at a time."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from stm_agent.annotate.faults import TooMany
from stm_agent.annotate.services.doors import AT_ONCE, Clients, Turns
from stm_agent.annotate.tool import Tool
from stm_agent.errors import GenerationError
from stm_agent.llm.scripted import scripted
from stm_agent.testing.annotate import client, fill, person
from stm_agent.testing.browser import serving

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Accessing the 'model_:DeprecationWarning"),
]
PROMPT_END = 30
"""Seconds a test waits for what should come at once."""
CHUNK = {
    "id": "1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "one "}, "finish_reason": None}],
}


class Mute:
    """A server that takes connections, says at most one piece, and then nothing more."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.asked: list[socket.socket] = []
        self.speaks = False
        threading.Thread(target=self._take, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.listening.getsockname()[1]}/v1"

    def _take(self) -> None:
        try:
            while True:
                one, _ = self.listening.accept()
                self.asked.append(one)
                if self.speaks:
                    one.recv(65536)
                    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
                    one.sendall(f"{head}data: {json.dumps(CHUNK)}\n\n".encode())
        except OSError:
            return

    def close(self) -> None:
        """Go away."""
        # Without it the thread that waits for a connection would take one more.
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for one in self.asked:
            one.close()


@pytest.fixture
def mute() -> Iterator[Mute]:
    server = Mute()
    yield server
    if server.listening.fileno() >= 0:
        server.close()


def until(true: Any) -> Any:
    """Return what comes true."""
    end = time.monotonic() + PROMPT_END
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def alone(tool: Tool, url: str) -> Any:
    """Ada, in a project whose answers an LLM at ``url`` drafts without inputs."""
    fill(tool, "qa")
    ada = client(tool, "Ada")
    told = {"name": "slow", "model": "openai/slow", "api_base": url, "key": "a-key"}
    assert ada.put("/llms", json=told).status_code == 200
    now = ada.get("/projects/signs").json()
    now["schema"]["blocks"][1] |= {"inputs": [], "mode": "solo"}
    ada.patch("/projects/signs", json={"version": now["version"], "changes": {"schema": now["schema"]}})
    return ada


def test_an_llm_that_never_answers_holds_up_nobody_and_a_stopped_draft_is_kept_at_once(small, mute):
    ada = alone(small, mute.url)
    mute.speaks = True
    for number in range(12):
        person(small, f"P{number}")
        ada.post("/projects/signs/members", json={"name": f"P{number}"})
    people = [client(small, f"P{number}") for number in range(12)]
    entries = [one.post("/projects/signs/entries").json()["key"] for one in people]
    with serving(small) as address:
        base = f"{address.split('/?')[0].rstrip('/')}/api/v1"
        headers = [dict(one.headers) for one in people]
        with httpx.Client(base_url=base, timeout=PROMPT_END) as http:
            open_ones = []
            for told, entry in zip(headers, entries, strict=True):
                for _ in range(AT_ONCE):
                    place = f"/projects/signs/entries/{entry}/drafts"
                    asked = http.build_request(
                        "POST", place, json={"block": "answer"}, headers={"authorization": told["authorization"]}
                    )
                    open_ones.append(http.send(asked, stream=True))
            assert {one.status_code for one in open_ones} == {200}
            until(lambda: len(mute.asked) == len(open_ones))
            mine = {"authorization": headers[0]["authorization"]}
            began = time.monotonic()
            assert http.get("/me", headers=mine).json()["name"] == "P0"
            assert time.monotonic() - began < 5, "more drafts wait than a server has threads for requests"
            more = http.post(f"/projects/signs/entries/{entries[0]}/drafts", json={"block": "answer"}, headers=mine)
            assert more.status_code == 429 and "stop it" in more.json()["title"]
            assert next(open_ones[0].iter_text()).startswith("event: piece")
            open_ones[0].close()
            place = "/projects/signs/drafts"
            (kept,) = until(lambda: http.get(place, params={"entry": entries[0]}, headers=mine).json())
            assert (kept["state"], kept["answer"], kept["asked_by"]) == ("stopped", "one ", "P0")
            again = http.build_request(
                "POST", f"/projects/signs/entries/{entries[0]}/drafts", json={"block": "answer"}, headers=mine
            )

            def asked_again() -> httpx.Response | None:
                one = http.send(again, stream=True)
                return one if one.status_code != 429 else one.close()

            # Its turn ends a moment after it is kept.
            open_ones.append(until(asked_again))
            assert open_ones[-1].status_code == 200, "a stopped one counts no more"
            for one in open_ones:
                one.close()


def test_an_llm_that_says_nothing_is_given_up_with_what_had_come(small, mute):
    ada = alone(small, mute.url)
    small.doors = Clients(small.folder, patience=2)
    entry = ada.post("/projects/signs/entries").json()["key"]
    for speaks, text in ((False, ""), (True, "one ")):
        mute.speaks = speaks
        asked = len(mute.asked)
        told = ada.post(f"/projects/signs/entries/{entry}/drafts", json={"block": "answer"}).text
        assert "event: problem" in told and "said nothing for 2 seconds" in told
        kept = ada.get("/projects/signs/drafts").json()[-1]
        assert (kept["state"], kept["answer"]) == ("failed", text)
        assert len(mute.asked) == asked + 1, "it is not asked again"
    mute.speaks = False
    tried = ada.post("/llms/slow/try")
    assert (tried.status_code, "said nothing for 2 seconds" in tried.json()["title"]) == (400, True)
    exported = ada.get("/projects/signs/export/drafts").text.splitlines()
    assert json.loads(exported[-1])["answer"] == "one "


def test_grades_an_llm_breaks_off_are_kept_as_far_as_they_came(small, mute):
    ada = alone(small, mute.url)
    small.doors = Clients(small.folder, patience=2)
    ada.post("/projects/signs/runs", json={"retrievers": ["bm25"]})
    query = "/projects/signs/queries/q1/llm-grades"
    mute.speaks = True
    assert ada.post(query, json={}).json()["failed"] >= 1
    assert {row["answer"] for row in ada.get("/projects/signs/drafts").json()} == {"one "}


def test_another_try_is_not_made_for_who_has_gone(monkeypatch, mute):
    from stm_agent.llm.litellm import LiteLlmProvider

    monkeypatch.setattr("stm_agent.llm.retrying._wait", lambda state: 0.0)
    url = mute.url
    mute.close()
    stream = LiteLlmProvider("openai/gone", url, "a-key", patience=5).stream(
        [{"role": "user", "content": "hi"}], temperature=0.0, max_tokens=5, seed=1
    )
    assert next(stream) == "", "a further try is told before it is made"
    stream.close()
    assert list(stream) == []


def test_a_person_waits_for_few_answers_at_a_time(small):
    turns, ada, bo = Turns(), person(small, "Ada"), person(small, "Bo")
    held = [turns.turn(ada) for _ in range(AT_ONCE)]
    for one in held:
        one.__enter__()
    with pytest.raises(TooMany, match="wait for one"), turns.turn(ada):
        pass
    with turns.turn(bo):
        held[0].__exit__(None, None, None)
    with turns.turn(ada):
        pass


def test_an_answer_that_breaks_off_is_kept_as_far_as_it_came(small, tmp_path):
    ada = alone(small, "http://127.0.0.1:9/v1")

    class Breaking:
        def stream(self, *_args: object, **_more: object) -> Iterator[str]:
            yield "half "
            yield "of it"
            raise GenerationError("the line went dead")

    small.doors.door = lambda choice: Breaking()
    entry = ada.post("/projects/signs/entries").json()["key"]
    ada.post(f"/projects/signs/entries/{entry}/drafts", json={"block": "answer"})
    (kept,) = ada.get("/projects/signs/drafts").json()
    assert (kept["state"], kept["answer"], kept["error"]) == ("failed", "half of it", "the line went dead")
    assert (kept["usd"], kept["value"]) == (None, None)
    small.doors.door = lambda choice: scripted(["whole"], tmp_path)
    ada.post(f"/projects/signs/entries/{entry}/drafts", json={"block": "answer"})
    rows = ada.get("/projects/signs/drafts").json()
    assert [row["state"] for row in rows] == ["failed", "offered"]
    assert rows[1]["parameters"]["sample"] == 0, "what was not heard is no sample"


def test_an_answer_that_is_no_value_is_asked_for_anew(small, tmp_path):
    ada = alone(small, "http://127.0.0.1:9/v1")
    now = ada.get("/projects/signs").json()
    now["schema"]["blocks"][1] |= {"type": "number"}
    ada.patch("/projects/signs", json={"version": now["version"], "changes": {"schema": now["schema"]}})
    door = scripted(["many", "7"], tmp_path)
    small.doors.door = lambda choice: door
    entry = ada.post("/projects/signs/entries").json()["key"]
    for _ in range(2):
        ada.post(f"/projects/signs/entries/{entry}/drafts", json={"block": "answer"})
    told = [(row["state"], row["answer"]) for row in ada.get("/projects/signs/drafts").json()]
    assert told == [("failed", "many"), ("offered", "7")]
