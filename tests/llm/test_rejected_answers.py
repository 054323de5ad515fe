"""Answers that cannot be used: rejected with a reason, counted, never cached, never ended in a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stm_agent.errors import AnswerRejected, GenerationError
from stm_agent.files import read_jsonl, write_json
from stm_agent.llm.answer import Answer
from stm_agent.llm.budget import Budget
from stm_agent.llm.client import LlmClient
from stm_agent.llm.open import open_client
from stm_agent.llm.options import LlmOptions
from stm_agent.llm.scripted import scripted
from stm_agent.testing.chat_server import ChatServer

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
CHAT = [{"role": "user", "content": "hello"}]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setattr("stm_agent.llm.retrying._wait", lambda state: 0.0)
    with ChatServer() as opened:
        yield opened


def client_of(server: ChatServer, folder: Path, **more: Any) -> LlmClient:
    options = LlmOptions(model=more.pop("model", "openai/local"), api_base=server.url, **more)
    return open_client(options, cache=folder / "cache", ledger=folder / "l.jsonl", budget=Budget())


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ([{"message": {"content": None}, "finish_reason": "length"}], "cut off"),
        ([{"message": {"content": ""}, "finish_reason": "stop"}], "empty"),
        ([{"message": {"content": None}, "finish_reason": "content_filter"}], "content filter"),
        ([{"message": {"content": "half a"}, "finish_reason": "content_filter"}], "content filter"),
        ([{"message": {"content": None, "refusal": "I will not."}, "finish_reason": "stop"}], "refusal"),
        ([], "empty"),
    ],
)
def test_an_answer_without_text_is_rejected_counted_and_not_cached(
    server: ChatServer, tmp_path: Path, choices: list[dict[str, Any]], reason: str
) -> None:
    server.answers = [{"choices": choices}]
    client = client_of(server, tmp_path)
    with pytest.raises(AnswerRejected) as rejected:
        client.complete(CHAT)
    assert rejected.value.reason == reason
    assert not list((tmp_path / "cache").rglob("*.json"))
    assert client.budget.spent.calls == 1
    assert client.budget.spent.completion_tokens == 4, "what the provider counted is paid"
    (entry,) = read_jsonl(tmp_path / "l.jsonl")
    assert (entry["rejected"], entry["tries"]) == (reason, 1)


def test_a_rejected_request_is_not_paid_again_in_the_same_run_unless_asked_to(
    server: ChatServer, tmp_path: Path
) -> None:
    server.answers = [{"choices": []}, "now it works"]
    with pytest.raises(AnswerRejected):
        client_of(server, tmp_path).complete(CHAT)
    resumed = client_of(server, tmp_path)
    with pytest.raises(AnswerRejected, match="rejected before"):
        resumed.complete(CHAT)
    assert len(server.bodies) == 1
    assert resumed.complete(CHAT, again=True).text == "now it works"


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (400, "The response was filtered: content management policy", "content filter"),
        (400, "This model's maximum context length is 10 tokens", "longer than the context"),
        (400, "the request exceeds the available context size", "longer than the context"),
        (400, "Invalid prompt", "refused by the provider"),
        (422, "unprocessable", "refused by the provider"),
        (500, "out of order", "no answer"),
    ],
)
def test_a_chat_that_the_provider_refuses_is_no_end_of_the_provider(
    server: ChatServer, tmp_path: Path, status: int, message: str, reason: str
) -> None:
    server.answers = [(status, message)] * 5
    with pytest.raises(AnswerRejected) as rejected:
        client_of(server, tmp_path).complete(CHAT)
    assert rejected.value.reason == reason


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        (401, "API key"),
        (402, "add some at its provider"),
        (403, "the key has no access to openai/local; ask its provider for access, or name another model"),
        (404, "is not known to its provider"),
        (429, "quota"),
    ],
)
def test_a_provider_that_refuses_everybody_is_an_error_of_its_own(
    server: ChatServer, tmp_path: Path, status: int, fix: str
) -> None:
    server.answers = [(status, "no")] * 5
    with pytest.raises(GenerationError, match=fix) as error:
        client_of(server, tmp_path).complete(CHAT)
    assert not isinstance(error.value, AnswerRejected)


def test_silence_is_not_remembered(server: ChatServer, tmp_path: Path) -> None:
    server.answers = [(500, "out of order")] * 5 + ["back again"]
    client = client_of(server, tmp_path)
    with pytest.raises(AnswerRejected, match="out of order"):
        client.complete(CHAT)
    assert client.complete(CHAT).text == "back again"


def test_thoughts_of_a_reasoning_model_have_room_of_their_own(server: ChatServer, tmp_path: Path) -> None:
    server.answers = ["fine", {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}]
    client = client_of(server, tmp_path, model="openai/gpt-5-mini", max_tokens=64)
    assert client.complete(CHAT).text == "fine"
    assert server.bodies[0]["max_completion_tokens"] == 64 + 8192
    with pytest.raises(AnswerRejected, match="8256 tokens; raise max_tokens"):
        client.complete(CHAT, rollout=1)


# LiteLLM's streams copy pydantic models attribute by attribute.
@pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning")
def test_a_stream_without_text_is_rejected(server: ChatServer, tmp_path: Path) -> None:
    server.answers = [{"choices": [{"message": {"content": None}, "finish_reason": "length"}]}]
    client = client_of(server, tmp_path)
    with pytest.raises(AnswerRejected, match="no answer within its limit"):
        list(client.stream(CHAT))
    assert client.budget.spent.calls == 1
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_finish_reason_and_thoughts_come_along_and_are_cached(server: ChatServer, tmp_path: Path) -> None:
    message = {"content": "half a sentence", "reasoning_content": "let me think"}
    server.answers = [{"choices": [{"message": message, "finish_reason": "length"}]}]
    paid, cached = (client_of(server, tmp_path).complete(CHAT) for _ in range(2))
    for completion in (paid, cached):
        assert (completion.finish_reason, completion.reasoning) == ("length", "let me think")
    assert (paid.cached, cached.cached) == (False, True)


def test_an_empty_answer_that_an_earlier_version_cached_is_asked_for_again(tmp_path: Path) -> None:
    client = scripted(["old", "new"], tmp_path)
    client.complete(CHAT)
    (stored,) = (tmp_path / "llm").rglob("*.json")
    write_json(stored, {"schema": 1, "text": "", "completion_tokens": 64, "prompt_tokens": 1, "usd": None})
    assert client.complete(CHAT).text == "new"


def test_an_answer_of_an_earlier_version_with_as_many_tokens_as_its_limit_is_cut_off(
    tmp_path: Path,
) -> None:
    client = scripted(["old"], tmp_path)
    client.complete(CHAT)
    (stored,) = (tmp_path / "llm").rglob("*.json")
    write_json(stored, {"schema": 1, "text": "half", "completion_tokens": 256, "prompt_tokens": 1, "usd": None})
    assert client.complete(CHAT).finish_reason == "length"


def test_a_damaged_cache_file_is_asked_for_again(tmp_path: Path) -> None:
    client = scripted(["one", "two"], tmp_path)
    client.complete(CHAT)
    (stored,) = (tmp_path / "llm").rglob("*.json")
    stored.write_text('{"text": "on')
    assert client.complete(CHAT).text == "two"


def test_a_client_that_may_not_ask_gives_what_was_paid_and_rejects_the_rest(tmp_path: Path) -> None:
    options = LlmOptions(model="scripted:numbered")
    more = {"cache": tmp_path / "c", "ledger": tmp_path / "l", "budget": Budget()}
    paid = open_client(options, **more).complete(CHAT)
    silent = open_client(options, **more, asks=False)
    assert silent.complete(CHAT).text == paid.text
    with pytest.raises(AnswerRejected, match="not asked any more"):
        silent.complete(CHAT, rollout=1)


def test_a_refusal_with_its_cost_is_counted_in_dollars(tmp_path: Path) -> None:
    client = scripted([Answer("", 5, 64, 0.25, finish_reason="length")], tmp_path)
    with pytest.raises(AnswerRejected):
        client.complete(CHAT)
    assert client.budget.spent.usd == 0.25


def test_a_wrong_model_name_ends_in_one_line_after_one_call(server: ChatServer, tmp_path: Path) -> None:
    server.answers = [(404, "the model `locl` does not exist")]
    with pytest.raises(GenerationError, match=r"correct the name or --api-base: .* does not exist") as error:
        client_of(server, tmp_path).complete(CHAT)
    assert "\n" not in str(error.value)
    assert len(server.bodies) == 1
