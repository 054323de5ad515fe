"""Results that can be handed in: mteb's own folder, under the revision of the weights, with the run's own score."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stm_agent.backbone.instruction import Instruction
from stm_agent.domain.collection import Collection, Document, Split
from stm_agent.evaluate.baselines import static_encoder
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.evaluate.handed_in import HandedIn, hand_in, meta_text
from stm_agent.evaluate.scoring import ScoredTask, score_split
from stm_agent.evaluate.tasks import mteb_task
from stm_agent.loop.handing_in import hub_id
from stm_agent.testing.pico import pico_decoder
from stm_agent.testing.tiny import tiny_collection

MODEL = HandedIn(
    name="stm-agent/tiny-1",
    revision="0123abcd",
    adapted_from="pico",
    parameters=1000,
    dimension=32,
    max_tokens=64,
    instructed=True,
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float], float]:
    """The folder, the scores by mteb, and our own nDCG@10."""
    folder = tmp_path_factory.mktemp("handed")
    encoder, collection = static_encoder(str(pico_decoder(folder / "pico"))), tiny_collection()
    test = ScoredTask("test", collection.texts, collection.splits["test"])
    cache = EmbeddingCache(folder / "vectors")
    instruction = Instruction("find it")
    own = score_split(cache, encoder, test.documents, test.split, instruction)
    opened = Collection("tiny", collection.documents, {"test": test.split}, "", "")
    prefixes = (instruction.query_prefix, instruction.passage_prefix)
    found = hand_in(MODEL, encoder, cache, mteb_task(opened, "test"), prefixes, folder / "mteb")
    return folder / "mteb", found, own.ndcg_at_10


def test_mteb_scores_what_the_run_scores(results):
    _, found, own = results
    assert found["ndcg_at_10"] == pytest.approx(own, abs=1e-3)


def test_languages_are_those_of_the_corpus():
    german = Document("d", "", "Das ist nicht der Text, den sie für die Suche haben, und er ist auf Deutsch.")
    split = Split("test", {"q": "suche"}, {"q": {"d": 1}})
    assert mteb_task(Collection("g", (german,), {"test": split}, "", ""), "test").metadata.eval_langs == ["deu-Latn"]
    mixed = Document("d", "", "Это русский текст о поиске и ранжировании документов, and the title is of English.")
    task = mteb_task(Collection("g", (mixed,), {"test": split}, "", ""), "test")
    assert task.metadata.eval_langs == ["und-Zyyy"], "one of its languages is not known"
    described = replace(MODEL, languages=("deu-Latn",), adapted_from=None)
    assert described.meta_fields()["languages"] == ["deu-Latn"]
    assert described.meta_fields()["adapted_from"] is None


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("BAAI/bge-small-en-v1.5", "BAAI/bge-small-en-v1.5"),
        ("embedded:all-minilm-l6-v2", None),
        ("models/weights.gguf", None),
        ("../.stages/merge-1/model", None),
        ("/srv/model", None),
    ],
)
def test_only_an_id_on_the_hub_is_named_as_the_start(start, expected):
    assert hub_id(start) == expected


def test_folder_is_mtebs_own_cache_of_results(results):
    import mteb

    folder, found, _ = results
    stored = folder / "results" / "stm-agent__tiny-1" / "0123abcd"
    assert sorted(path.name for path in stored.iterdir()) == [
        "TinyRetrieval.json",
        "model_meta.json",
        "run_settings.jsonl",
    ]
    assert json.loads((stored / "model_meta.json").read_text())["revision"] == "0123abcd"
    loaded = mteb.ResultCache(cache_path=folder).load_results(models=["stm-agent/tiny-1"], validate_and_filter=False)
    (model,) = loaded.model_results
    assert next(iter(model.task_results[0].scores.values()))[0]["ndcg_at_10"] == found["ndcg_at_10"]


def test_meta_is_python_that_mteb_reads(results):
    folder, _, _ = results
    text = (folder / "model_meta.py").read_text()
    assert text == meta_text(MODEL)
    names: dict[str, object] = {}
    exec(compile(text, "model_meta.py", "exec"), names)  # noqa: S102 - the text is the product
    meta = names["model_tiny_1"]
    assert (meta.languages, meta.adapted_from) == (None, "pico"), "what is not known is not made up"
    assert (meta.name, meta.revision, meta.use_instructions) == ("stm-agent/tiny-1", "0123abcd", True)
