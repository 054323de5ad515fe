"""What people refused is never trained on."""

from __future__ import annotations

from stm_agent.domain.data import Pair
from stm_agent.mine.negatives import Negative
from stm_agent.mine.reviewed import Verdict, refused, without_refused, write_verdicts


def test_refused_negatives_are_left_out_by_their_words(tmp_path):
    assert refused(tmp_path) == frozenset()
    said = [Verdict("What is fever?", "A high temperature.", "false_negative"), Verdict("x", "y", "negative")]
    write_verdicts(tmp_path, "one", said)
    write_verdicts(tmp_path, "two", [Verdict("What is fever?", "###", "broken")])
    pairs = [Pair("1", "what is  FEVER", "p", "train", "g"), Pair("2", "x", "p", "train", "h")]
    negatives = {
        "1": (Negative("a high temperature", "bm25"), Negative("a cough", "bm25")),
        "2": (Negative("y", "bm25"),),
    }
    kept, gone = without_refused(pairs, negatives, refused(tmp_path))
    assert (kept, gone) == ({"1": (negatives["1"][1],), "2": negatives["2"]}, 1)


def test_a_line_that_is_no_review_costs_only_itself(tmp_path):
    write_verdicts(tmp_path, "one", [Verdict("x", "y", "broken")])
    path = tmp_path / "reviews" / "two.jsonl"
    path.write_text('{"answer": "broken"}\n["x"]\n')
    assert refused(tmp_path) == {("x", "y")}
