"""The ceiling holds: unknown prices are refused, retries count, minutes add up, threads cannot pass it together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from stm_agent.errors import AnswerRejected, BudgetExceeded, ConfigError, GenerationError
from stm_agent.files import append_jsonl, read_jsonl
from stm_agent.llm.budget import Budget, read_spending
from stm_agent.llm.client import LlmClient
from stm_agent.llm.facts import ModelFacts, model_facts
from stm_agent.llm.open import open_client
from stm_agent.llm.options import LlmOptions, read_options
from stm_agent.llm.scripted import ScriptedProvider, scripted
from stm_agent.testing.chat_server import ChatServer

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
CHAT = [{"role": "user", "content": "hello"}]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setattr("stm_agent.llm.retrying._wait", lambda state: 0.0)
    with ChatServer() as opened:
        yield opened


def open_in(folder: Path, options: LlmOptions, budget: Budget) -> LlmClient:
    return open_client(options, cache=folder / "cache", ledger=folder / "l.jsonl", budget=budget)


def test_a_cap_in_dollars_needs_a_price(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--price-in and --price-out") as refused:
        open_in(tmp_path, LlmOptions(model="openai/local"), Budget(usd=1))
    assert "\n" not in str(refused.value)
    open_in(tmp_path, LlmOptions(model="openai/local"), Budget())
    open_in(tmp_path, LlmOptions(model="openai/local", price_in=0, price_out=0), Budget(usd=1))
    for free in ("embedded:smollm2-135m", "scripted:numbered", "openai/gpt-5-mini"):
        open_in(tmp_path, LlmOptions(model=free), Budget(usd=1))


def test_given_prices_make_the_cost_and_stop_the_run(server: ChatServer, tmp_path: Path) -> None:
    server.answers = ["an answer"]
    # 3 tokens read and 4 written, at 100,000 and 50,000 dollars a million, are half a dollar.
    options = LlmOptions(model="openai/local", api_base=server.url, price_in=1e5, price_out=5e4, max_tokens=4)
    client = open_in(tmp_path, options, Budget(usd=3))
    assert client.complete(CHAT).usd == pytest.approx(0.5)
    assert read_jsonl(tmp_path / "l.jsonl")[0]["price_known"] is True
    with pytest.raises(BudgetExceeded, match="--budget-usd"):
        for rollout in range(1, 9):
            client.complete(CHAT, rollout=rollout)
    assert client.budget.spent.usd <= 3


def test_a_call_that_could_pass_the_cap_is_not_made(tmp_path: Path) -> None:
    client = scripted(["never"], tmp_path, budget=Budget(usd=0.2), facts=ModelFacts(price=(0.0, 0.001)))
    with pytest.raises(BudgetExceeded, match=r"the next call can cost 0\.256"):
        client.complete(CHAT)
    assert client.budget.spent.calls == 0


def test_tries_in_vain_count_as_calls(server: ChatServer, tmp_path: Path) -> None:
    server.answers = [(429, "slow down"), (429, "slow down"), "an answer"]
    client = open_in(tmp_path, LlmOptions(model="openai/local", api_base=server.url), Budget(calls=3))
    assert client.complete(CHAT).tries == 3
    assert client.budget.spent.calls == 3
    assert [entry["tries"] for entry in read_jsonl(tmp_path / "l.jsonl")] == [3]
    with pytest.raises(BudgetExceeded, match="3 calls"):
        client.complete(CHAT, rollout=1)


def test_a_server_that_stays_away_is_counted_too(server: ChatServer, tmp_path: Path) -> None:
    server.answers = [(429, "slow down")]
    client = open_in(tmp_path, LlmOptions(model="openai/local", api_base=server.url), Budget())
    with pytest.raises(GenerationError, match="quota"):
        client.complete(CHAT)
    assert client.budget.spent.calls == 5
    assert read_spending(tmp_path / "l.jsonl").calls == 5


def test_minutes_are_those_of_the_whole_run() -> None:
    seconds = 0.0
    budget = Budget(minutes=2, elapsed=lambda: seconds)
    budget.check()
    seconds = 120.0
    assert budget.exhausted
    with pytest.raises(BudgetExceeded, match="--budget-minutes"):
        budget.check()


def test_a_ledger_counts_once_however_many_clients_open_it(tmp_path: Path) -> None:
    scripted(["one"], tmp_path, usd=0.4).complete(CHAT)
    budget = Budget()
    for _ in range(2):
        scripted([], tmp_path, budget=budget)
    assert (budget.spent.usd, budget.spent.calls) == (0.4, 1)


def test_a_ledger_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    entry = {"schema": 1, "model": "m", "usd": 0.5, "prompt_tokens": 3, "completion_tokens": 4, "seconds": 1.0}
    append_jsonl(tmp_path / "l.jsonl", entry)
    spent = read_spending(tmp_path / "l.jsonl")
    assert (spent.usd, spent.calls, spent.prompt_tokens, spent.completion_tokens) == (0.5, 1, 3, 4)
    assert read_spending(tmp_path / "none.jsonl").calls == 0


def test_threads_cannot_pass_the_ceiling_together(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def answer(messages: object) -> str:
        return "an answer"

    client = scripted(answer, tmp_path, budget=Budget(calls=3))

    def ask(rollout: int) -> bool:
        together.wait(10)
        try:
            client.complete(CHAT, rollout=rollout)
        except BudgetExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        answered = list(pool.map(ask, range(8)))
    assert sum(answered) == client.budget.spent.calls <= 3


def test_threads_that_ask_for_the_same_pay_once(tmp_path: Path) -> None:
    together = threading.Barrier(6)
    client = scripted(lambda messages: "an answer", tmp_path)

    def ask(_: int) -> str:
        together.wait(10)
        return client.complete(CHAT).text

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(ask, range(6))) == {"an answer"}
    assert client.budget.spent.calls == 1


def test_what_a_reader_left_early_is_counted_by_an_estimate(tmp_path: Path) -> None:
    client = scripted(["one two three"], tmp_path, facts=ModelFacts(price=(0.1, 0.1)))
    stream = client.stream(CHAT)
    assert next(stream) == "one "
    stream.close()
    assert client.budget.spent.calls == 1
    assert client.budget.spent.usd > 0


def test_options_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ConfigError, match="LLM temprature"):
        read_options({"temprature": 1})
    with pytest.raises(ConfigError, match="go together"):
        read_options({"price_in": 1})
    with pytest.raises(ConfigError, match="max_tokens"):
        read_options({"max_tokens": 0})


def test_what_decides_answers_is_the_identity_and_prices_are_not() -> None:
    plain = LlmOptions()
    assert plain.identity == LlmOptions(price_in=1, price_out=2).identity
    others = [{"model": "m"}, {"api_base": "http://x/v1"}, {"temperature": 0.1}, {"max_tokens": 9}]
    assert len({plain.identity, *(read_options(other).identity for other in others)}) == 5


def test_facts_of_models_are_litellms() -> None:
    known = model_facts(LlmOptions(model="openai/gpt-5-mini"))
    assert known.priced and known.price and known.context and known.headroom
    assert not model_facts(LlmOptions(model="gpt-4o-mini")).headroom
    assert model_facts(LlmOptions()).context == 2048


def test_a_stored_answer_says_what_it_cost_and_counts_so_in_a_comparison(tmp_path: Path) -> None:
    first = scripted(["one", "two"], tmp_path, usd=0.4)
    paid = [first.complete(CHAT, rollout=number).paid for number in range(2)]
    again = scripted([], tmp_path).complete(CHAT)
    assert (again.usd, again.tries, again.paid.usd, again.paid.calls) == (0.0, 0, 0.4, 1)
    assert again.paid == replace(paid[0], seconds=round(paid[0].seconds, 3))

    def compared(asks: bool = True) -> LlmClient:
        return LlmClient(
            LlmOptions(model="scripted:test"),
            ScriptedProvider([]),
            cache=tmp_path / "llm",
            ledger=tmp_path / "compared.jsonl",
            budget=Budget(calls=1),
            asks=asks,
            counts_stored=True,
        )

    client = compared()
    assert [client.complete(CHAT).text for _ in range(2)] == ["one", "one"], "it counts once"
    with pytest.raises(BudgetExceeded, match="1 calls is spent"):
        client.complete(CHAT, rollout=1)
    with pytest.raises(AnswerRejected, match="not asked any more"):
        compared(asks=False).complete(CHAT, rollout=1)
    assert compared(asks=False).complete(CHAT).text == "one", "what was counted can be used"
    spent, real = (read_spending(tmp_path / "compared.jsonl", stored=stored) for stored in (True, False))
    assert (spent.usd, spent.calls, real.usd, real.calls) == (0.4, 1, 0.0, 0)
