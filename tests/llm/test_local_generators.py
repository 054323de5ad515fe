"""GGUF files of one's own as generators: known by their bytes, refused in one line; the width and the progress."""

from __future__ import annotations

from pathlib import Path

import pytest

from stm_agent.errors import ConfigError
from stm_agent.llm.budget import Budget
from stm_agent.llm.facts import model_facts
from stm_agent.llm.open import open_client
from stm_agent.llm.options import LlmOptions
from stm_agent.llm.rate import CallRate
from stm_agent.llm.scripted import scripted

CHAT = [{"role": "user", "content": "hello"}]


def gguf(folder: Path, name: str, content: bytes) -> LlmOptions:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"GGUF" + content)
    return LlmOptions(model=str(folder / name))


def test_a_gguf_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    options = gguf(tmp_path, "a.gguf", b"weights")
    assert gguf(tmp_path / "elsewhere", "b.gguf", b"weights").identity == options.identity
    before = options.identity
    gguf(tmp_path, "a.gguf", b"other weights")
    assert options.identity != before


def test_a_moved_gguf_file_is_not_asked_again(tmp_path: Path) -> None:
    texts = []
    for name in ("a.gguf", "moved.gguf"):
        client = scripted(["once"], tmp_path, options=gguf(tmp_path, name, b"weights"))
        texts.append(client.complete(CHAT))
    assert [(done.text, done.cached) for done in texts] == [("once", False), ("once", True)]


@pytest.mark.parametrize(
    ("name", "why"),
    [("none.gguf", "cannot be read"), ("text.gguf", "is not a GGUF file"), ("embedded:hpo", "is not a decoder")],
)
def test_a_file_that_is_no_decoder_is_refused_in_one_line(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "text.gguf").write_text("some text")
    model = name if name.startswith("embedded:") else str(tmp_path / name)
    with pytest.raises(ConfigError, match=why) as refused:
        open_client(LlmOptions(model=model), cache=tmp_path, ledger=tmp_path / "l", budget=Budget())
    assert "\n" not in str(refused.value)


def test_a_gguf_file_costs_nothing_and_keeps_a_cap(tmp_path: Path) -> None:
    options = gguf(tmp_path, "a.gguf", b"weights")
    assert model_facts(options).cost(100, 100) == 0
    open_client(options, cache=tmp_path, ledger=tmp_path / "l", budget=Budget(usd=1))


def test_the_width_is_the_users_and_decides_no_key() -> None:
    assert LlmOptions(width=3).identity == LlmOptions().identity
    assert model_facts(LlmOptions()).width == model_facts(LlmOptions(model="openai/gpt-5-mini")).width == 16


def test_progress_names_rate_cost_and_time_left(tmp_path: Path) -> None:
    seconds = 0.0
    client = scripted(lambda messages: "text", tmp_path, usd=0.01)
    rate = CallRate(client, clock=lambda: seconds)
    for done in range(1, 11):
        seconds = done * 3.0
        client.complete(CHAT, rollout=done)
        line = rate.text("queries", done, 50)
    assert line == "queries, 20 a minute, 2 min left, 0.1000 USD"
    seconds = 150.0
    assert rate.text("queries", 50, 50) == "queries, 20 a minute, 0.1000 USD"
