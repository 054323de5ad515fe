"""A checkpoint's own prompts stand where no instruction does."""

from __future__ import annotations

import numpy as np

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Split
from stm_agent.domain.spec import InstructSpec
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.instruct.search import search_instruction

OWN = Instruction.none({"query": "query: ", "document": "passage: ", "other": "x"})


def test_an_instruction_takes_the_place_of_the_query_prompt_only():
    assert (OWN.query_prefix, OWN.passage_prefix) == ("query: ", "passage: ")
    told = OWN.saying("Find it.", "seed:find")
    assert (told.query_prefix, told.passage_prefix, told.origin) == ("Find it.\nQuery: ", "passage: ", "seed:find")
    assert told.saying("", "none") == OWN
    assert Instruction.none({}) == Instruction()


class Listener:
    """Remembers what stood in front of the texts; finds nothing."""

    dimension, identity = 2, "listener"

    def __init__(self):
        self.heard = set()

    def room(self, prefix):
        return None

    def encode(self, texts, *, prefix=""):
        self.heard |= {(text.split()[0], prefix) for text in texts}
        return np.ones((len(texts), 2), np.float32)


def test_the_search_starts_from_them_and_reads_passages_with_them(tmp_path):
    encoder = Listener()
    names = [str(number) for number in range(8)]
    found = search_instruction(
        encoder=encoder,
        cache=EmbeddingCache(tmp_path / "vectors"),
        searching=Split("dev", {n: f"question {n}" for n in names}, {n: {n: 1} for n in names}),
        documents={n: f"passage {n}" for n in names},
        seeds=[Instruction("Find it.", "", "seed:find")],
        incumbent=OWN,
        reflection=None,
        spec=InstructSpec(reflections=0),
        trace=tmp_path / "traces.jsonl",
        seed=0,
        task="a question -> its passage",
    )
    assert found.winner == OWN
    assert encoder.heard == {("question", "query: "), ("question", "Find it.\nQuery: "), ("passage", "passage: ")}
