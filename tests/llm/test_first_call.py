"""A wrong key costs one call, however many are asked at a time; a budget buys as much as one call after another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stm_agent.errors import AnswerRejected, BudgetExceeded, GenerationError
from stm_agent.llm.answer import Messages
from stm_agent.llm.budget import Budget
from stm_agent.llm.facts import ModelFacts
from stm_agent.llm.parallel import in_parallel
from stm_agent.llm.scripted import ScriptedProvider, scripted

CHAT = [{"role": "user", "content": "hello"}]


def test_a_wrong_key_is_found_by_one_call(tmp_path: Path) -> None:
    waiting = threading.Event()

    def refuse(messages: Messages) -> str:
        waiting.wait(0.2)
        raise GenerationError("the key is refused")

    client = scripted(refuse, tmp_path)
    failures: list[str] = []

    def ask(rollout: int) -> None:
        try:
            client.complete(CHAT, rollout=rollout)
        except GenerationError as error:
            failures.append(str(error))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert failures == ["the key is refused"] * 8
    assert isinstance(client.provider, ScriptedProvider)
    assert client.provider.calls == 1


def test_a_provider_that_was_away_is_asked_again_later(tmp_path: Path) -> None:
    answers = iter([GenerationError("away"), "here"])

    def answer(messages: Messages) -> str:
        given = next(answers)
        if isinstance(given, GenerationError):
            raise given
        return given

    client = scripted(answer, tmp_path)
    with pytest.raises(GenerationError, match="away"):
        client.complete(CHAT)
    assert client.complete(CHAT).text == "here"


def test_one_rejected_chat_opens_the_way_for_the_others(tmp_path: Path) -> None:
    together = threading.Barrier(3)
    calls: list[int] = []

    def answer(messages: Messages) -> str:
        calls.append(1)
        if len(calls) == 1:
            raise AnswerRejected("filtered", "content filter")
        # Three at a time, or the barrier breaks.
        together.wait(10)
        return "an answer"

    client = scripted(answer, tmp_path, facts=ModelFacts(width=3))
    with pytest.raises(AnswerRejected):
        client.complete(CHAT)
    texts = in_parallel(lambda rollout: client.complete(CHAT, rollout=rollout).text, range(1, 4), width=3)
    assert list(texts) == ["an answer"] * 3


@pytest.mark.parametrize("width", [1, 8])
def test_a_budget_buys_the_same_calls_at_any_width(tmp_path: Path, width: int) -> None:
    # A call holds 2.6 dollars and costs 0.1: eight at a time hold more than the cap of 5.
    facts = ModelFacts(price=(0.0, 0.01), width=width)
    client = scripted(lambda messages: "an answer", tmp_path, usd=0.1, budget=Budget(usd=5), facts=facts)
    with pytest.raises(BudgetExceeded, match="--budget-usd"):
        list(in_parallel(lambda rollout: client.complete(CHAT, rollout=rollout), range(100), width=width))
    assert client.budget.spent.calls == 25


def test_no_more_calls_than_the_width_wait_for_the_provider_however_many_threads_ask(tmp_path: Path) -> None:
    lock, now, most = threading.Lock(), [0], [0]
    together = threading.Barrier(3)

    def answer(messages: Messages) -> str:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        if messages[0] != CHAT[0]:
            # Three at a time, or the barrier breaks.
            together.wait(10)
        with lock:
            now[0] -= 1
        return "an answer"

    client = scripted(answer, tmp_path, facts=ModelFacts(width=3))
    assert client.threads == 6
    client.complete(CHAT)
    chats = ([{"role": "user", "content": f"hello {number}"}] for number in range(12))
    assert len(list(in_parallel(client.complete, chats, width=client.threads))) == 12
    assert most == [3]
