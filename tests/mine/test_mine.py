"""Mining: BM25 is bm25s', and nothing that may be relevant comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import MineSpec
from stm_agent.errors import StopRequested
from stm_agent.evaluate.bm25 import Bm25Index
from stm_agent.evaluate.unspaced import bigrams
from stm_agent.mine.negatives import SOME, mine
from stm_agent.mine.prompted import PromptedEncoder
from stm_agent.mine.store import load_negatives, save_negatives
from stm_agent.progress import watched_by

POOL = {
    "p": "a swollen red knee after running",
    "near": "A swollen, red knee after running!",
    "parent": "any swelling of a joint such as the knee",
    "hard": "a swollen red elbow after a fall",
    "other": "a rash on the back of the hand",
    "twin": "red swollen knee",
}
PAIR = Pair("1", "my knee is red and swollen", POOL["p"], "s", "g")
GROUPS = {"g": frozenset({"p", "parent"})}


class Words:
    """Bag of words as an encoder."""

    identity, dimension = "words", 64

    def room(self, prefix: str) -> int | None:
        return None

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> NDArray[np.float32]:
        out = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().replace(",", "").replace("!", "").split():
                out[row, sum(map(ord, word)) % 64] += 1
        return out / np.linalg.norm(out, axis=1, keepdims=True)


def test_nothing_relevant_or_too_near_is_mined() -> None:
    mined = mine([PAIR], POOL, GROUPS, spec=MineSpec(), encoder=PromptedEncoder(Words()))
    kept = {negative.passage_id for negative in mined.negatives["1"]}
    assert "hard" in kept
    assert kept.isdisjoint({"p", "parent", "near", "twin"})
    assert mined.counts["near-duplicate of the positive"] == 1
    assert mined.counts["too near the positive's score"] == 1


def test_without_an_encoder_the_missing_filter_is_counted() -> None:
    mined = mine([PAIR], POOL, GROUPS, spec=MineSpec(), encoder=None)
    assert mined.counts["pairs without a positive-aware filter"] == 1


@pytest.mark.parametrize("retriever", ["bm25", "dense"])
def test_mining_stops_between_two_pairs(retriever: Literal["bm25", "dense"]) -> None:
    class Watcher:
        reports = 0

        def progress(self, name: str, text: str, done: int, total: int) -> None:
            self.reports += 1

        def stop_reason(self) -> str | None:
            return "stopped" if self.reports == 2 else None

    pairs = [replace(PAIR, id=str(number)) for number in range(3 * SOME)]
    with watched_by(Watcher()), pytest.raises(StopRequested):
        mine(pairs, POOL, GROUPS, spec=MineSpec(retrievers=(retriever,)), encoder=PromptedEncoder(Words()))


def test_round_trip_through_a_datasets_folder(tmp_path: Path) -> None:
    mined = mine([PAIR], POOL, GROUPS, spec=MineSpec(), encoder=PromptedEncoder(Words()))
    save_negatives(tmp_path, [PAIR], mined.negatives)
    assert load_negatives(tmp_path) == dict(mined.negatives)


def test_bm25_scores_are_bm25s() -> None:
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25(k1=1.2, b=0.75)
    tokens = bm25s.tokenize(list(POOL.values()), stopwords="en", stemmer=stemmer, show_progress=False, return_ids=False)
    index.index(tokens, show_progress=False)
    query = bm25s.tokenize(
        ["red swollen knee"], stopwords="en", stemmer=stemmer, show_progress=False, return_ids=False
    )[0]
    wanted = dict(zip(POOL, index.get_scores(query), strict=True))
    (found,) = Bm25Index(POOL).search(["red swollen knee"], 6)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    for passage, score in found:
        assert abs(score - wanted[passage]) < 1e-6
    assert {passage for passage, _ in found} == {passage for passage, score in wanted.items() if score > 0}


def test_scripts_without_spaces_are_ranked_by_two_letters_at_a_time() -> None:
    texts = {
        "ja": "患者は発熱と咳がある。",
        "zh": "发热三天,伴有咳嗽",
        "th": "ผู้ป่วยมีไข้สูงและไอ",
        "ko": "환자는 열이 있다",
        "en": "COVID19患者",
    }
    index = Bm25Index(texts)
    asked = ["発熱する患者", "咳嗽", "ไข้สูง", "환자", "covid19", "熱"]
    assert [[key for key, _ in hits] for hits in index.search(asked, 5)] == [
        ["ja", "en"],
        ["zh"],
        ["th"],
        ["ko"],
        ["en"],
        [],
    ]
    assert bigrams("a 発熱 b 咳") == ("a   b  ", ["発熱", "咳"])
    assert Bm25Index(texts).search([], 5) == []


def test_query_of_unknown_words_finds_nothing() -> None:
    assert Bm25Index(POOL).search(["zzz", "the"], 3) == [[], []]


def test_a_stage_without_a_single_negative_can_be_read(tmp_path):
    save_negatives(tmp_path, [PAIR], {})
    assert load_negatives(tmp_path) == {}
