"""The audit of negatives: what is planted is found, the interval covers it, and nothing is decided without evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import AuditSpec, MineSpec
from stm_agent.mine import calibration
from stm_agent.mine.calibration import calibrate, lacking
from stm_agent.mine.evidence import Evidence, Found, Suspect, list_suspects, weigh
from stm_agent.mine.families import ONE, SEVERAL, families_of
from stm_agent.mine.mixture import Bins, fit_mixture, fit_tilts
from stm_agent.mine.negatives import Negative, mine
from stm_agent.mine.prompted import PromptedEncoder
from stm_agent.mine.score_teachers import BiEncoderTeacher, Passage
from stm_agent.mine.verdicts import Verdict, audit, interleaved, key_of

QUERIES = 60


@pytest.fixture(autouse=True)
def fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample 80 times, not 300: the intervals are a little rougher, and the tests four times as fast."""
    monkeypatch.setattr(calibration, "SAMPLES", 80)


class Words:
    """Bag of hashed words as an encoder."""

    identity, dimension = "words", 64

    def room(self, prefix: str) -> int | None:
        return None

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> NDArray[np.float32]:
        out = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                out[row, sum(map(ord, word)) % 64] += 1
        return out / np.linalg.norm(out, axis=1, keepdims=True)


def suspect(query: int, number: int, *, known: bool = False, kind: str = "bm25") -> Suspect:
    pair = Pair(f"{query}:0", f"query {query}", f"positive {query}", "train", str(query))
    passage = Passage(f"{query}-{number}", f"passage {number} of {query}")
    return Suspect(pair=pair, query=query, passage=passage, kind=kind, known=known)  # type: ignore[arg-type]


def normal_evidence(share: float, *, kind: str = "bm25", seed: int = 0) -> tuple[Evidence, set[str]]:
    """Return evidence with one feature: relevant passages are normal around 5, others around 0."""
    generator = np.random.default_rng(seed)
    suspects, features, planted = [], [], set()
    for query in range(QUERIES):
        for number in range(32):
            known = number < 4
            relevant = known or generator.random() < share
            suspects.append(suspect(query, number, known=known, kind=kind))
            features.append([generator.normal(5.0 if relevant else 0.0)])
            if relevant and not known:
                planted.add(suspects[-1].passage.id)
    return Evidence(tuple(suspects), np.array(features), {}), planted


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_the_rate_of_planted_positives_is_within_the_interval(share: float) -> None:
    covered = 0
    for seed in range(5):
        evidence, planted = normal_evidence(share, seed=seed)
        (family,) = families_of(evidence)
        assert family.calibrated is not None
        rate = family.calibrated.rate(family.candidates)
        covered += rate.low <= len(planted) / rate.count <= rate.high
        assert rate.high - rate.low < 0.1, "an interval that covers everything says nothing"
    assert covered >= 4


def test_planted_positives_are_found_and_the_surest_are_relabelled() -> None:
    evidence, planted = normal_evidence(0.1)
    verdicts = audit(families_of(evidence), AuditSpec(queue=5, relabel=0.9), {}).verdicts
    found = [verdict for verdict in verdicts if verdict.decision != "negative"]
    relabelled = [verdict for verdict in verdicts if verdict.decision == "relabelled"]
    assert sum(verdict.suspect.passage.id in planted for verdict in found) >= 0.88 * len(planted)
    assert len(relabelled) > 20
    assert sum(verdict.suspect.passage.id in planted for verdict in relabelled) >= 0.9 * len(relabelled)
    assert sum(verdict.decision == "queued" for verdict in verdicts) <= 5


@pytest.mark.parametrize(("lower_end", "relabels"), [(0.6, True), (0.4, False)])
def test_nothing_is_relabelled_if_the_rate_may_be_less_than_half(lower_end: float, relabels: bool) -> None:
    evidence, _ = normal_evidence(0.1)
    (family,) = families_of(evidence)
    fitted = family.calibrated
    assert fitted is not None
    rate = fitted.rate(family.candidates)
    vague = SimpleNamespace(
        scores=fitted.scores,
        chances=fitted.chances,
        cautious=fitted.cautious,
        rate=lambda part: replace(rate, low=lower_end * rate.share),
    )
    verdicts = audit([replace(family, calibrated=vague)], AuditSpec(), {}).verdicts  # type: ignore[arg-type]
    assert ("relabelled" in {verdict.decision for verdict in verdicts}) == relabels
    assert "queued" in {verdict.decision for verdict in verdicts}, "what is doubtful is no negative in both"


def test_the_rate_after_the_audit_is_lower() -> None:
    evidence, _ = normal_evidence(0.1)
    rates = audit(families_of(evidence), AuditSpec(), {}).report["rates"]
    assert isinstance(rates, dict)
    assert rates["bm25"]["after"]["high"] < rates["bm25"]["before"]["low"]


def test_without_false_negatives_nothing_is_relabelled() -> None:
    evidence, _ = normal_evidence(0.0)
    verdicts = audit(families_of(evidence), AuditSpec(), {}).verdicts
    assert "relabelled" not in {verdict.decision for verdict in verdicts}


def test_with_too_few_known_positives_there_is_a_reason_and_no_number() -> None:
    evidence, _ = normal_evidence(0.1)
    few = [row for row, one in enumerate(evidence.suspects) if not one.known or one.query < 9]
    part = Evidence(tuple(evidence.suspects[row] for row in few), evidence.features[few], {})
    audited = audit(families_of(part), AuditSpec(), {})
    assert audited.report["rates"] == {}
    assert "36 known positives" in str(audited.report["reasons"])
    assert {verdict.decision for verdict in audited.verdicts} == {"negative"}


def test_people_decide_before_scores() -> None:
    evidence, _ = normal_evidence(0.1)
    families = families_of(evidence)
    first = next(verdict for verdict in audit(families, AuditSpec(), {}).verdicts if verdict.decision == "relabelled")
    last = next(verdict for verdict in audit(families, AuditSpec(), {}).verdicts if verdict.decision == "negative")
    answers = {key_of(first.suspect): "negative", key_of(last.suspect): "false_negative"}
    again = {key_of(v.suspect): v for v in audit(families, AuditSpec(), answers).verdicts}
    assert (again[key_of(first.suspect)].decision, again[key_of(first.suspect)].by) == ("negative", "people")
    assert again[key_of(last.suspect)].decision == "relabelled"


def test_a_judge_can_turn_a_verdict() -> None:
    evidence, _ = normal_evidence(0.1)
    families = families_of(evidence)

    spec = AuditSpec(relabel=0.9)

    def decision(grades: dict[tuple[str, str], float], wanted: Verdict) -> str:
        verdicts = audit(families, spec, {}, grades).verdicts
        return next(v.decision for v in verdicts if key_of(v.suspect) == key_of(wanted.suspect))

    verdicts = audit(families, spec, {}).verdicts
    stays = next(verdict for verdict in verdicts if verdict.decision == "negative")
    sure = next(verdict for verdict in verdicts if verdict.decision == "relabelled")
    assert decision({key_of(stays.suspect): 40.0}, stays) == "relabelled"
    assert decision({key_of(sure.suspect): -40.0}, sure) != "relabelled"


def test_written_negatives_are_calibrated_apart_and_come_first_with_the_others() -> None:
    mined, _ = normal_evidence(0.1)
    written, _ = normal_evidence(0.1, kind="synthetic", seed=1)
    others = [row for row, one in enumerate(written.suspects) if not one.known]
    suspects = (*mined.suspects, *(written.suspects[row] for row in others))
    features = np.concatenate([mined.features, written.features[others] * 100])
    audited = audit(families_of(Evidence(suspects, features, {})), AuditSpec(), {})
    assert {"bm25", "synthetic", "mined"} <= set(audited.report["rates"])  # type: ignore[call-overload]
    top = [verdict.suspect.kind for verdict in audited.verdicts if verdict.doubt == 1.0]
    assert sorted(top) == ["bm25", "synthetic"]


def test_doubts_do_not_depend_on_the_scale_of_a_retriever() -> None:
    assert interleaved(["bm25", "bm25", "dense", "dense"], [31.0, 12.0, 0.4, 0.7]) == [1.0, 0.5, 0.5, 1.0]


def test_the_fit_survives_samples_that_do_not_overlap() -> None:
    relevant, candidates = np.linspace(5, 6, 40), np.linspace(-1, 0, 400)
    bins = Bins.of(relevant, candidates)
    counts = [np.bincount(bins.numbers(x), minlength=len(bins.centres)).astype(float) for x in (relevant, candidates)]
    assert all(fit.share < 0.01 for fit in fit_mixture(bins, counts[0], counts[1])[1])


def test_a_fit_does_not_stay_at_a_share_of_zero_that_another_one_had() -> None:
    generator = np.random.default_rng(0)
    relevant = generator.normal(3.0, size=400)
    candidates = np.concatenate([generator.normal(3.0, size=400), generator.normal(size=3600)])
    bins = Bins.of(relevant, candidates)
    counts = [np.bincount(bins.numbers(x), minlength=len(bins.centres)).astype(float) for x in (relevant, candidates)]
    free = fit_tilts(bins, counts[0][None], counts[1][None], 1)[0]
    zero = replace(free, share=1e-6, ratio=np.zeros(2))
    assert free.share == pytest.approx(0.1, abs=0.02)
    assert fit_tilts(bins, counts[0][None], counts[1][None], 1, zero)[0].share == pytest.approx(free.share, abs=1e-3)


def test_scores_come_from_a_regression_that_did_not_see_the_query() -> None:
    """Features of noise must not look like evidence."""
    generator = np.random.default_rng(0)
    known = np.zeros(600, dtype=bool)
    known[:60] = True
    fitted = calibrate(generator.normal(size=(600, 40)), known, np.arange(600) % 60)
    assert abs(fitted.scores[known].mean() - fitted.scores[~known].mean()) < 0.5
    assert lacking(known, np.arange(600) % 60) is None


def test_mining_keeps_what_it_refused_and_known_positives_are_weighed_without_themselves() -> None:
    pool = {
        "a": "gout hurts in the big toe at night",
        "b": "attacks of gout begin with a swollen toe",
        "c": "gout in a toe of older people",
        "d": "a broken arm heals in six weeks",
    }
    pairs = [Pair(f"q:{name}", "pain in my toe from gout", pool[name], "train", "q") for name in "ab"]
    groups = {"q": frozenset("ab")}
    encoder = PromptedEncoder(Words())
    mined = mine(pairs, pool, groups, spec=MineSpec(margin=0.3), encoder=encoder)
    assert "c" in [negative.passage_id for negative in mined.doubtful["q:a"]]
    assert {negative.passage_id for negative in mined.relevant["q:a"]} == {"a", "b"}
    written = {"q:a": (Negative("toes and fingers", "synthetic"),)}
    found = Found(negatives=mined.negatives, doubtful=mined.doubtful, relevant=mined.relevant, written=written)
    suspects = list_suspects(pairs, found)
    assert {(s.passage.text, s.kind) for s in suspects if s.known} == {(pool["a"], "bm25"), (pool["b"], "bm25")}
    assert (pool["c"], "refused") in {(s.passage.text, s.kind) for s in suspects}
    evidence = weigh(pairs, suspects, pool, teacher=None, encoder=encoder)
    nearness = dict(zip([s.passage.id for s in evidence.suspects], evidence.features[:, -1], strict=True))
    vectors = Words().encode([pool["a"], pool["b"]])
    assert nearness["a"] == nearness["b"] == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-6)


def lonely_evidence(share: float, seed: int) -> tuple[Evidence, set[str]]:
    """Return evidence with one judged passage a query: relevant ones are normal around 3, others around 0."""
    generator = np.random.default_rng(seed)
    suspects, plain, planted = [], [], set()
    for query in range(150):
        for number in range(17):
            known = number == 0
            relevant = known or generator.random() < share
            suspects.append(replace(suspect(query, number, known=known), alone=known))
            plain.append([generator.normal(3.0 if relevant else 0.0)])
            if relevant and not known:
                planted.add(suspects[-1].passage.id)
    features = np.array([[np.nan if row.alone else 0.0] for row in suspects])
    return Evidence(tuple(suspects), features, {}, np.array(plain)), planted


@pytest.mark.parametrize("share", [0.02, 0.08])
def test_with_one_judged_passage_a_query_the_interval_covers_the_planted_rate(share: float) -> None:
    covered = 0
    for seed in range(10):
        evidence, planted = lonely_evidence(share, seed)
        (family,) = families_of(evidence)
        assert (family.by, family.reason) == (ONE, None)
        assert family.calibrated is not None
        rate = family.calibrated.rate(family.candidates)
        covered += rate.low <= len(planted) / rate.count <= rate.high
        assert rate.high - rate.low < 0.1, "an interval that covers everything says nothing"
    assert covered >= 9


def test_one_judged_passage_a_query_relabels_nothing_and_leaves_out_what_is_probably_relevant() -> None:
    evidence, planted = lonely_evidence(0.08, 0)
    families = families_of(evidence)
    audited = audit(families, AuditSpec(), {})
    gone = [verdict for verdict in audited.verdicts if verdict.decision != "negative"]
    assert len(gone) > 20
    assert {verdict.decision for verdict in gone} <= {"queued", "dropped"}
    assert all(verdict.chance is not None and verdict.chance >= 0.5 for verdict in gone)
    assert sum(verdict.suspect.passage.id in planted for verdict in gone) >= 0.7 * len(gone)
    assert audited.report["by"] == {"mined": ONE}
    rates: Any = audited.report["rates"]
    assert rates["mined"]["after"]["share"] < rates["mined"]["before"]["low"]
    none = audit(families, AuditSpec(find=0.0), {})
    assert {verdict.decision for verdict in none.verdicts} == {"negative"}


def one_judged(source: str) -> list[Evidence]:
    """Return what mining finds for 40 queries with one judged passage each."""
    pool = {f"{n}": f"word{n // 2} of gout and word{n % 7} in number {n}" for n in range(80)}
    pairs = [Pair(f"{n}:0", f"word{n // 2} number {n}", pool[str(n)], source, str(n)) for n in range(40)]
    encoder = PromptedEncoder(Words())
    groups = {pair.group: frozenset({pair.group}) for pair in pairs}
    mined = mine(pairs, pool, groups, spec=MineSpec(depth=12), encoder=encoder)
    found = Found(negatives=mined.negatives, doubtful=mined.doubtful, relevant=mined.relevant, written={})
    suspects = list_suspects(pairs, found)
    return [
        weigh(pairs, suspects, pool, teacher=BiEncoderTeacher(used) if used else None, encoder=used)
        for used in (encoder, None)
    ]


def test_a_judged_passage_that_is_alone_is_weighed_without_positives() -> None:
    whole, lexical = one_judged("train")
    known = np.array([one.known for one in whole.suspects])
    assert known.sum() >= 30
    assert [one.alone for one in whole.suspects] == known.tolist()
    assert np.isnan(whole.features[known]).all() and np.isfinite(whole.features[~known]).all()
    assert (whole.plain.shape[1], lexical.plain.shape[1]) == (2, 1)
    assert [family.by for evidence in (whole, lexical) for family in families_of(evidence)] == [ONE, ONE]


def test_queries_that_were_made_of_their_passage_show_nothing() -> None:
    for source in ("sentences", "written"):
        (family,) = families_of(one_judged(source)[0])
        assert family.reason is not None
        assert "0 known positives" in family.reason


def test_several_judged_passages_a_query_are_the_better_evidence() -> None:
    evidence, _ = normal_evidence(0.1)
    lonely = [replace(suspect(900 + query, 0, known=True), alone=True) for query in range(40)]
    features = np.concatenate([evidence.features, np.full((40, 1), np.nan)])
    both = Evidence((*evidence.suspects, *lonely), features, {}, np.zeros_like(features))
    (family,) = families_of(both)
    (before,) = families_of(evidence)
    assert family.by == SEVERAL
    assert family.suspects == before.suspects
