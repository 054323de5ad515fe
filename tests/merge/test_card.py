"""The model card says what the model is made of."""

from __future__ import annotations

from pathlib import Path

import yaml

from stm_agent.domain.load import load_domain
from stm_agent.merge.card import model_card


def card(**changes):
    domain = load_domain("biomedical", Path()).model_copy(update=changes)
    return model_card(
        name="run-1",
        domain=domain,
        weights={"lay": 0.5, "hard@2": 0.5},
        dev=0.71234,
        general=None,
        sources=["HPO (free)"],
        command="stm-agent optimize --domain biomedical --seed 0",
    )


def test_recipe_scores_data_and_command_are_in_it():
    text = card()
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "sentence-transformers"
    for part in ("| hard@2 | 0.50 | lay |", "dev: 0.7123", "guard: not measured", "- HPO (free)", "--seed 0"):
        assert part in text


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
