"""Teacher scores: what is scored, by whom, and what of it is kept."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import AuditSpec, BackboneSpec, TeacherSpec
from stm_agent.errors import ConfigError, DataError
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.files import read_json
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.mine.candidates import Sheet
from stm_agent.mine.lists import Candidate, ScoredList, load_lists, save_lists
from stm_agent.mine.prompted import PromptedEncoder
from stm_agent.mine.score_teachers import CrossEncoderTeacher, EnsembleTeacher, FileTeacher
from stm_agent.mine.teaching import TeachingJob, choose, open_teacher, teach
from stm_agent.testing.pico import pico_checkpoint, pico_decoder

POOL = {
    "p": "a swollen red knee after running",
    "near": "A swollen, red knee after running!",
    "parent": "any swelling of a joint such as the knee",
    "hard": "a swollen red elbow after a fall",
    "other": "a rash on the back of the hand",
}
PAIRS = (
    Pair("q:p", "my knee is red and swollen", POOL["p"], "train", "q"),
    Pair("out", "rash on a hand", "a rash that is not in the pool", "train", "out"),
)
GROUPS = {"q": frozenset({"p", "parent"})}
BM25 = TeacherSpec(encoders=(), bm25=1.0, candidates=4)


class Letters:
    """Letter counts as an encoder."""

    identity, dimension = "letters", 26

    def room(self, prefix):
        return None

    def encode(self, texts, *, prefix=""):
        rows = [[(prefix + text).lower().count(chr(97 + letter)) + 0.01 for letter in range(26)] for text in texts]
        vectors = np.array(rows, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def taught_by(spec, pairs=PAIRS, encoders=()):
    sheet = Sheet.of(pairs, POOL, GROUPS)
    return teach(sheet, open_teacher(spec, sheet.texts, encoders, None), spec, encoders[0] if encoders else None)


def test_what_is_relevant_or_nearly_the_positive_is_no_candidate():
    taught = taught_by(BM25)
    assert {candidate.passage_id for candidate in taught.lists["q:p"].candidates} == {"hard"}
    assert taught.counts["relevant by the data"] == 2
    assert taught.counts["near-duplicate of the positive"] == 1


def test_a_positive_outside_the_pool_is_scored_and_never_retrieved():
    taught = taught_by(BM25, pairs=(*PAIRS, Pair("again", "rash of the pool", POOL["other"], "train", "again")))
    assert 0 < taught.lists["out"].positive < 1
    everyone = {candidate.passage_id for row in taught.lists.values() for candidate in row.candidates}
    assert everyone <= POOL.keys()


def test_the_ensemble_is_the_weighted_sum_of_relative_bm25_and_cosines():
    encoder = PromptedEncoder(Letters(), "ask: ", "say: ")
    spec = TeacherSpec(encoders=("letters",), bm25=0.7, encoder_weights=(0.3,))
    row = taught_by(spec, encoders=(encoder,)).lists["q:p"]
    query, passages = PAIRS[0].query, [POOL["p"], *(candidate.text for candidate in row.candidates)]
    words = dict(Bm25Index({**POOL, "x": PAIRS[1].positive}).search([query], 9)[0])
    ids = ["p", *(candidate.passage_id for candidate in row.candidates)]
    cosines = Letters().encode(passages, prefix="say: ") @ Letters().encode([query], prefix="ask: ")[0]
    wanted = [0.7 * words.get(i, 0.0) / max(words.values()) + 0.3 * c for i, c in zip(ids, cosines, strict=True)]
    assert [row.positive, *(c.score for c in row.candidates)] == pytest.approx(wanted, abs=1e-5)
    assert len(ids) == 3


def test_bm25_scores_of_all_passages_are_those_of_the_search():
    index = Bm25Index(POOL)
    found = dict(index.search([PAIRS[0].query], 9)[0])
    assert dict(zip(POOL, index.scores(PAIRS[0].query), strict=True)) == pytest.approx(
        {passage: found.get(passage, 0.0) for passage in POOL}
    )
    assert not index.scores("zzz").any()


def test_half_of_the_candidates_are_the_hardest_and_half_come_from_all_ranks():
    row = [Candidate(f"text {number}", str(number), 1 - number / 100) for number in range(100)]
    chosen = choose(row, 8, "seed")
    hardest, drawn = [int(c.passage_id) for c in chosen[::2]], [int(c.passage_id) for c in chosen[1::2]]
    assert hardest == [0, 1, 2, 3]
    # Four strata of the 96 others, one of each.
    assert [(number - 4) // 24 for number in drawn] == [0, 1, 2, 3]
    assert choose(row[::-1], 8, "seed") == chosen != choose(row, 8, "another")
    assert len(choose(row[:5], 8, "seed")) == 5


def test_a_file_of_scores_brings_its_own_candidates(tmp_path):
    lines = [{"query-id": "q", "corpus-id": passage, "score": score} for passage, score in (("p", 12), ("other", -4))]
    jsonl, trec = tmp_path / "scores.jsonl", tmp_path / "run.trec"
    jsonl.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    trec.write_text("q Q0 p 1 12 run\nq Q0 other 2 -4 run\n", encoding="utf-8")
    for path in (jsonl, trec):
        taught = taught_by(TeacherSpec(scores=f"file:{path}", encoders=()))
        # The scale of a file is unknown, so it is mapped to 0..1.
        assert taught.lists == {"q:p": ScoredList(1.0, (Candidate(POOL["other"], "other", 0.0),))}
        assert taught.counts["pairs whose positive has no score"] == 1


def test_an_id_in_a_file_of_scores_may_hold_a_line_separator(tmp_path):
    path = tmp_path / "scores.jsonl"
    row = {"query-id": "q", "corpus-id": "p\u2028q", "score": 1}
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    question = SimpleNamespace(names=("q",))
    assert FileTeacher(path).listed(question) == ("p\u2028q",)


@pytest.mark.parametrize("line", ["q p 1", '{"query-id": "q"}', "q Q0 p 1 nan run", "[1]"])
def test_a_broken_line_of_scores_is_named(tmp_path, line):
    path = tmp_path / "scores"
    path.write_text(f"q Q0 p 1 12 run\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"scores:2 (is not a score|has the score)"):
        FileTeacher(path)


def test_a_cross_encoder_scores_each_pair_of_texts(tmp_path):
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(pico_decoder(tmp_path / "network", architecture="bert")), num_labels=1)
    model.save_pretrained(str(tmp_path / "cross"), create_model_card=False)
    spec = TeacherSpec(scores=f"cross-encoder:{tmp_path / 'cross'}", encoders=(), rescale="none")
    sheet = Sheet.of(PAIRS, POOL, GROUPS)
    teacher = open_teacher(spec, sheet.texts, (), None)
    assert isinstance(teacher, CrossEncoderTeacher)
    row = teach(sheet, teacher, spec, None).lists["q:p"]
    raw = model.predict([(PAIRS[0].query, POOL["hard"])], activation_fn=lambda value: value)[0]
    assert row.candidates[0].score == pytest.approx(float(raw), abs=1e-5)


def test_the_job_writes_lists_that_are_read_back(tmp_path):
    checkpoint = pico_checkpoint(tmp_path / "pico", prompts={"query": "ask: ", "document": ""})
    spec = TeacherSpec(encoders=(str(checkpoint),), candidates=2)
    job = TeachingJob(pairs=PAIRS, pool=POOL, groups=GROUPS, spec=spec, cache=tmp_path / "vectors")
    (tmp_path / "stage").mkdir()
    pickle.loads(pickle.dumps(job)).build(tmp_path / "stage")  # noqa: S301 - our own value
    lists = load_lists(tmp_path / "stage")
    assert {candidate.passage_id for candidate in lists["q:p"].candidates} == {"hard", "other"}
    assert read_json(tmp_path / "stage" / "counts.json")["pairs"] == 2
    again = TeachingJob(
        pairs=PAIRS, pool=POOL, groups=GROUPS, spec=spec.model_copy(update={"bm25": 0.1}), cache=tmp_path
    )
    assert job.key() != again.key()


def test_encoder_own_is_the_model_of_the_run(tmp_path):
    model = AdaptedModel(BackboneSpec(model=str(pico_checkpoint(tmp_path / "pico")), max_length=32))
    spec = TeacherSpec(encoders=("own",), bm25=0.0, encoder_weights=(1.0,))
    assert spec.models == {}
    job = TeachingJob(pairs=PAIRS, pool=POOL, groups=GROUPS, spec=spec, cache=tmp_path / "vectors", retriever=model)
    (tmp_path / "stage").mkdir()
    job.build(tmp_path / "stage")
    row, encoder = load_lists(tmp_path / "stage")["q:p"], model.open()
    vectors = encoder.encode([PAIRS[0].query, PAIRS[0].positive])
    assert row.positive == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)
    with pytest.raises(ConfigError, match="encoder 'own' is the model of a run"):
        replace(job, retriever=None).build(tmp_path / "stage")
    with pytest.raises(ValidationError, match="encoder 'own' is for teach"):
        AuditSpec(teacher=spec)


def test_a_stage_without_a_single_list_can_be_read(tmp_path):
    save_lists(tmp_path, PAIRS, {})
    assert load_lists(tmp_path) == {}


def test_an_ensemble_that_weighs_nothing_is_named():
    with pytest.raises(ValidationError, match="all weights of the ensemble are 0"):
        TeacherSpec(encoders=(), bm25=0.0)
    with pytest.raises(ValidationError, match="2 encoder_weights for 1 encoders"):
        TeacherSpec(encoder_weights=(0.5, 0.5))
    assert EnsembleTeacher(POOL, 0.0, (), ()).score([], []) == []
