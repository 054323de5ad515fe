"""The model card says what the model is made of."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from stm_agent.domain.load import load_domain
from stm_agent.loop.handed_card import handed_card
from stm_agent.merge.card import model_card, sources_of
from stm_agent.testing.tiny import tiny_collection

GATE = {"mode": "halves", "looks": 1, "search_queries": 84, "accept_queries": 125, "smallest_gain": 0.05}


def card(weights=MappingProxyType({"lay": 0.5, "hard@2": 0.5}), **changes):
    domain = load_domain("biomedical", Path()).model_copy(update=changes)
    return model_card(
        name="run-1",
        domain=domain,
        weights=weights,
        dev=0.71234,
        general=None,
        sources=["HPO (free)"],
        command="stm-agent optimize --domain biomedical --seed 0",
    )


def test_recipe_scores_data_and_command_are_in_it():
    text = card()
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "sentence-transformers"
    for part in (
        "| hard@2 | 0.50 | lay |",
        "on the search half of dev: 0.7123",
        "guard: not measured",
        "- HPO (free)",
        "--seed 0",
    ):
        assert part in text


def test_recipe_has_loss_learning_rate_and_batch_of_each_expert():
    train = load_domain("biomedical", Path()).train
    (row,) = (line for line in card().splitlines() if line.startswith("| lay |"))
    assert row.endswith(f" | infonce | {train.learning_rate:g} | {train.batch_size} |")
    own = load_domain("biomedical", Path()).experts[0].model_copy(update={"learning_rate": 0.0002, "batch_size": 9})
    text = card(weights={own.name: 1.0}, experts=(own,))
    assert "| infonce | 0.0002 | 9 |" in text


def test_a_start_without_experts_is_not_called_merged():
    text = card(weights={})
    assert "The start as it is: " in text
    assert "No expert is merged into it." in text
    assert "LoRA" not in text
    assert "| expert |" not in text


def test_llms_that_wrote_training_texts_are_sources():
    domain = load_domain("biomedical", Path())
    sources = sources_of(
        domain, tiny_collection(), {"generator": "openai/gpt-5-mini", "judge": "embedded:smollm2-135m"}
    )
    assert (
        "generator openai/gpt-5-mini (licence: see its own card, and its provider's terms for what it writes)"
        in sources
    )
    assert "judge embedded:smollm2-135m (Apache-2.0)" in sources


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_label": "backbone"}, "the start itself, since no gain was confirmed on 125 dev queries"),
        ({}, "Chosen on 84 dev queries of one collection, and confirmed on 125 dev queries beside them."),
        ({"gate": {**GATE, "mode": "whole"}}, "Chosen and confirmed on the same 84 dev queries"),
        ({"gate": {**GATE, "looks": 0}}, "Chosen on 84 dev queries of one collection; no gain was confirmed."),
    ],
    ids=["rolled back", "halves", "whole", "no look"],
)
def test_limits_say_what_was_confirmed_on_how_many_queries(changes, words):
    report: Any = {"gate": GATE, "model_label": "merge (a 1.00)", "dev": {"merged": 0.769}, "dev_to_test_gap": -0.034}
    collection = {"synthetic": [], "test_queries": 300, "documents": 1000, "dev_queries": 209}
    report |= {"collection": collection, "rows": {}, "test_openings": 1, "failures": [], "instruction": ""}
    text = handed_card("# a model", {**report, "passage_instruction": "", **changes})
    assert words in text
    assert "- nDCG@10 on all 209 dev queries and the whole corpus: 0.769; minus that on test: -0.034." in text


def test_a_teacher_is_named_only_where_there_was_one():
    assert "also learnt from the vectors of embedded:all-minilm-l6-v2" in card()
    untaught = load_domain("biomedical", Path()).experts[-1].model_copy(update={"name": "lay", "start": None})
    assert "learnt from" not in card(experts=(untaught, untaught.model_copy(update={"name": "hard"})))


def test_an_expert_that_the_domain_does_not_list_has_its_row():
    lay = load_domain("biomedical", Path()).experts[0]
    text = model_card(
        name="run-1",
        domain=load_domain("biomedical", Path()),
        weights={"slice-type-question": 1.0},
        dev=None,
        general=None,
        sources=[],
        command="stm-agent optimize",
        trained={"slice-type-question": lay.model_copy(update={"steps": 7, "sources": ("lay", "clinical")})},
    )
    assert "| slice-type-question | 1.00 | lay, clinical | 7 |" in text
