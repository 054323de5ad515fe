"""A checkpoint's prompt for passages is used whatever it is called."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.backbone.load import load_backbone, load_model
from stm_agent.backbone.prompts import passage_prompt, query_prompt
from stm_agent.domain.spec import BackboneSpec
from stm_agent.loop.evaluate_single import evaluate_model
from stm_agent.testing.pico import pico_checkpoint
from stm_agent.testing.tiny import tiny_collection

# sentence-transformers saves an empty "document" beside it.
PROMPTS = {"query": "query: ", "passage": "passage: "}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return pico_checkpoint(tmp_path_factory.mktemp("e5"), prompts=PROMPTS)


@pytest.mark.parametrize("load", [load_model, lambda name: load_backbone(BackboneSpec(model=name))])
def test_a_prompt_named_passage_is_the_one_of_passages(checkpoint, load, caplog):
    caplog.set_level(logging.INFO)
    model = load(str(checkpoint))
    assert Instruction.none(model.prompts).passage_prefix == "passage: "
    assert model.prompts["document"] == "passage: "
    assert sum("names the prompt of its passages 'passage'" in record.message for record in caplog.records) == 1
    np.testing.assert_allclose(model.encode_document(["heart"]), model.encode(["passage: heart"], prompt=""), atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # mteb's own
@pytest.mark.parametrize("engine", ["fast", "mteb"])
def test_both_scorers_put_it_in_front_of_passages(checkpoint, tmp_path, engine):
    named = pico_checkpoint(tmp_path, prompts={"query": "query: ", "document": "passage: "})
    expected = evaluate_model(str(named), tiny_collection(), "dev", runs=tmp_path / "runs", engine=engine)
    assert evaluate_model(str(checkpoint), tiny_collection(), "dev", runs=tmp_path / "runs", engine=engine) == expected


def test_the_prompt_named_document_comes_first():
    assert passage_prompt({"document": "d: ", "passage": "p: "}) == "d: "
    assert passage_prompt({"document": "", "passage": None, "corpus": "c: "}) == "c: "
    assert passage_prompt({"query": "q: "}) == ""
    assert query_prompt({"query": None}) == query_prompt({}) == ""
