"""Typed outputs are asked by a JSON schema, if the model keeps one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stm_agent.errors import AnswerRejected
from stm_agent.llm.answer import BAD_REQUEST, Answer, Messages
from stm_agent.llm.budget import Budget
from stm_agent.llm.client import LlmClient
from stm_agent.llm.dspy_engine import dspy_context
from stm_agent.llm.facts import ModelFacts, model_facts
from stm_agent.llm.options import LlmOptions
from stm_agent.llm.scripted import ScriptedProvider

CHAT = "[[ ## queries ## ]]\n" + json.dumps(["by markers"]) + "\n\n[[ ## completed ## ]]"


class Schemed(ScriptedProvider):
    """A scripted model that keeps a JSON schema, or whose server refuses it."""

    def __init__(self, *, refuses: bool = False) -> None:
        super().__init__(lambda messages: CHAT)
        self.refuses, self.schemas = refuses, list[Mapping[str, Any]]()

    def answer_by_schema(
        self, messages: Messages, *, temperature: float, max_tokens: int, seed: int, schema: Mapping[str, object]
    ) -> Answer:
        self.schemas.append(schema)
        if self.refuses:
            raise AnswerRejected("m refused the request: no such schema", BAD_REQUEST)
        return Answer(json.dumps({"queries": ["by schema"]}), 1, 1, 0.0)


def client(provider: ScriptedProvider, folder: Path, *, schema: bool = True) -> LlmClient:
    options = LlmOptions(model="openai/gpt-5-mini")
    facts = ModelFacts(price=(0.0, 0.0), schema=schema)
    return LlmClient(options, provider, cache=folder / "llm", ledger=folder / "llm.jsonl", budget=Budget(), facts=facts)


def queries(to: LlmClient, output: str = "queries: list[str]") -> Any:
    import dspy

    with dspy_context(to, sample=0):
        return dspy.Predict(f"passage -> {output}")(passage="p")


def test_typed_outputs_are_asked_by_a_schema_once(tmp_path: Path) -> None:
    provider = Schemed()
    assert queries(client(provider, tmp_path)).queries == ["by schema"]
    assert queries(client(provider, tmp_path)).queries == ["by schema"]
    (schema,) = provider.schemas
    assert schema["type"] == "json_schema"
    assert list(schema["json_schema"]["schema"]["properties"]) == ["queries"]
    assert provider.calls == 0


def test_a_refused_schema_is_followed_by_the_chat_format(tmp_path: Path) -> None:
    provider = Schemed(refuses=True)
    assert queries(client(provider, tmp_path)).queries == ["by markers"]
    assert (len(provider.schemas), provider.calls) == (1, 1)


@pytest.mark.parametrize("schema", [False, True])
def test_a_single_text_and_other_models_are_asked_without_a_schema(tmp_path: Path, schema: bool) -> None:
    provider = Schemed()
    if schema:
        queries(client(provider, tmp_path), "queries")
    else:
        assert queries(client(provider, tmp_path, schema=False)).queries == ["by markers"]
    assert provider.schemas == []


def test_which_models_keep_a_schema_is_known_beforehand() -> None:
    assert model_facts(LlmOptions(model="openai/gpt-5-mini")).schema
    assert not model_facts(LlmOptions(model="embedded:smollm2-135m")).schema
