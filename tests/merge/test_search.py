"""The surrogate beside the real metric, every strategy on a known hill, and what happens where the surrogate fails."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stm_agent.errors import ConfigError
from stm_agent.evaluate.metrics import Scores, score
from stm_agent.evaluate.ranking import rank
from stm_agent.merge.agreement import Encoded, measure_agreement
from stm_agent.merge.bagging import bagged
from stm_agent.merge.search import SCALES, Candidate, front, search
from stm_agent.merge.strategies import STRATEGIES, corners, walk
from stm_agent.merge.surrogate import Surrogate, Task, mix
from stm_agent.merge.verifying import verify

PEAK = (0.6, 0.1, 0.3)


def task(documents: int = 80) -> Task:
    draw = np.random.default_rng(1)
    queries = draw.normal(size=(4, 30, 8)).astype("f")
    vectors = draw.normal(size=(4, documents, 8)).astype("f")
    names = [f"d{number}" for number in range(documents)]
    qrels = {f"q{n}": {f"d{n}": 2, f"d{n + 1}": 1} for n in range(28)} | {"q29": {"d0": 0}}
    return Task([f"q{n}" for n in range(30)], names, qrels, queries, vectors)


def real(made: Task, weights: tuple[float, ...]) -> float:
    queries, documents = mix(made.query_vectors, weights), mix(made.document_vectors, weights)
    return score(rank(made.queries, queries, made.documents, documents), made.qrels).ndcg_at_10


def test_the_surrogate_is_the_metric_on_mixed_vectors() -> None:
    made = task()
    surrogate = Surrogate(made)
    for weights in (*corners(3), PEAK, (0.2, 0.9, 0.3), (0.0, 0.0, 0.0)):
        assert surrogate.score(weights) == pytest.approx(real(made, weights), abs=1e-6)


def test_a_relevant_passage_that_the_corpus_lacks_is_not_found_as_in_the_metric() -> None:
    made = task()
    missing = {query: {**grades, "gone": 2} for query, grades in made.qrels.items()}
    lacking = Task(made.queries, made.documents, missing, made.query_vectors, made.document_vectors)
    assert Surrogate(lacking).score(PEAK) == pytest.approx(real(lacking, PEAK), abs=1e-6)


def test_experts_of_queries_are_scored_as_if_each_had_the_passages() -> None:
    made = task()
    once = np.stack([made.document_vectors[0]] * 4)
    alike = Task(made.queries, made.documents, made.qrels, made.query_vectors, once)
    surrogate = Surrogate(alike)
    assert surrogate.score(PEAK) == pytest.approx(real(alike, PEAK), abs=1e-6)
    encoded = mix(made.query_vectors[1:2], ())
    surrogate.learn((0.3, 0.3, 0.3), encoded, once[0])
    run = rank(made.queries, encoded, made.documents, mix(once[:1], ()))
    assert surrogate.score((0.3, 0.3, 0.3)) == pytest.approx(score(run, made.qrels).ndcg_at_10, abs=1e-3)


def hill(weights: tuple[float, ...]) -> float:
    return -math.dist(weights, PEAK)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "greedy"])
def test_every_strategy_climbs(name: str) -> None:
    if name == "tpe":
        pytest.importorskip("optuna")
    asked = []
    walk(name, lambda weights: asked.append(weights) or hill(weights), 3, budget=150, step=0.1, seed=0)
    assert max(map(hill, asked)) > -0.12
    again = []
    walk(name, lambda weights: again.append(weights) or hill(weights), 3, budget=150, step=0.1, seed=0)
    assert asked == again
    if name != "random":
        assert len(asked) <= 160


def test_a_soup_grows_only_while_it_helps() -> None:
    value = {(1, 0, 0): 0.5, (0, 1, 0): 0.4, (0, 0, 1): 0.3, (0.5, 0.5, 0): 0.6, (0.3333, 0.3333, 0.3333): 0.55}
    asked = []
    walk("greedy", lambda weights: asked.append(weights) or value[weights], 3, budget=10, step=0.1, seed=0)
    assert (0.5, 0.5, 0.0) in asked
    assert (0.3333, 0.3333, 0.3333) in asked
    assert (0.5, 0.0, 0.5) not in asked


def test_stms_grid_has_every_weight_of_every_expert_whatever_the_sum() -> None:
    points: list[tuple[float, ...]] = []
    walk("grid", lambda weights: points.append(weights) or 0.0, 2, budget=200, step=0.1, seed=0)
    assert len(points) == len(set(points)) == 11**2 - 1
    assert {(0.1, 0.0), (0.9, 0.9), (0.3, 0.4)} <= set(points)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("experts", [1, 2, 4])
def test_every_strategy_but_soups_leaves_the_start_a_share(name: str, experts: int) -> None:
    if name == "tpe":
        pytest.importorskip("optuna")
    sums = []
    walk(name, lambda weights: sums.append(sum(weights)) or -abs(sums[-1] - 0.4), experts, budget=80, step=0.1, seed=0)
    assert (min(sums) < 0.75) == (name != "greedy")


@pytest.mark.parametrize("method", ["linear", "task-arithmetic"])
@pytest.mark.parametrize("strategy", ["random", "greedy"])
def test_each_good_direction_is_tried_on_the_way_back_to_the_start(method: str, strategy: str) -> None:
    candidates = search(task(), [], strategy=strategy, step=0.1, seed=0, methods=(method,), budget=50)
    points = {candidate.weights for candidate in candidates}
    best = next(candidate.weights for candidate in candidates if sum(candidate.weights) == 1)
    for weights in (best, *corners(3)):
        assert {tuple(round(weight * scale, 4) for weight in weights) for scale in SCALES} <= points


def test_linear_searches_means_and_task_arithmetic_sums() -> None:
    means = search(task(), [], strategy="grid", step=0.5, seed=0, methods=("linear",), scales=())
    assert all(sum(candidate.weights) == pytest.approx(1, abs=1e-3) for candidate in means)
    sums = search(task(), [], strategy="grid", step=0.5, seed=0, methods=("task-arithmetic",), scales=())
    assert {(1.0, 1.0, 1.0), (0.5, 0.0, 0.0)} <= {candidate.weights for candidate in sums}


def test_without_sums_only_the_experts_alone_are_scored() -> None:
    candidates = search(task(), [], step=0.5, seed=0, methods=("ties",))
    assert {candidate.weights for candidate in candidates} == set(corners(3))


def test_tpe_without_optuna_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"stm-agent\[optuna\]"):
        walk("tpe", hill, 3, budget=5, step=0.1, seed=0)


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(0.9, 0.1), (0.8, 0.3), (0.7, 0.2), (0.6, 0.5), (0.6, 0.4)]
    kept = front([Candidate((float(number),), *point) for number, point in enumerate(points)])
    assert [(candidate.domain, candidate.general) for candidate in kept] == [(0.9, 0.1), (0.8, 0.3), (0.6, 0.5)]


class Real:
    def __init__(self, domain: float) -> None:
        self.domain, self.general = Scores(domain, 0.0, 0.0, {"q": domain}), 0.5


def test_where_the_surrogate_is_no_guide_real_encodes_go_on() -> None:
    found = search(task(), [], step=0.5, seed=0, budget=20)
    order = {candidate.weights: place for place, candidate in enumerate(found)}
    rated = []

    def build_and_rate(weights: tuple[float, ...]) -> Real:
        rated.append(weights)
        # The more the surrogate likes it the worse it is; the soup of all is best of all.
        return Real(0.99 if weights == (0.3333, 0.3333, 0.3333) else 0.1 + order[weights] / 1000)

    chosen = verify(found, build_and_rate, floor=0.0, count=3)
    assert chosen.surrogate_is_bad
    assert len(rated) > 5
    assert len(rated) == len(set(rated))


def scores(mean: float, spread: float = 0.0) -> Scores:
    per_query = {str(number): mean + spread * (-1) ** number for number in range(40)}
    return Scores(mean, 0.0, 0.0, per_query)


class OnDev:
    def __init__(self, domain: Scores) -> None:
        self.domain, self.general = domain, 0.5


@pytest.mark.parametrize("count", [1, 2])
def test_with_one_or_two_encodes_a_wrong_surrogate_is_noticed(count: int) -> None:
    """The surrogate puts both mixtures above the experts; really they are far below."""
    guesses = {(0.5, 0.5): 0.9, (0.8, 0.6): 0.85, (1.0, 0.0): 0.6, (0.0, 1.0): 0.5}
    rated = []

    def build_and_rate(weights: tuple[float, ...]) -> OnDev:
        rated.append(weights)
        return OnDev(scores(guesses[weights] if 1.0 in weights else 0.2))

    candidates = [Candidate(weights, guess, 0.5) for weights, guess in guesses.items()]
    chosen = verify(candidates, build_and_rate, floor=0.0, count=count)
    assert chosen.surrogate_is_bad
    assert chosen.rank_correlation is None
    assert chosen.weights == (1.0, 0.0)
    assert len(rated) == len(set(rated))


def test_a_wrong_surrogate_with_two_encodes_makes_a_soup_grow_on_real_scores() -> None:
    guesses = {(0.4, 0.7, 0.0): 0.9, (0.0, 0.5, 0.5): 0.85, **dict.fromkeys(corners(3), 0.6)}
    real = {(0.4, 0.7, 0.0): 0.1, (0.0, 0.5, 0.5): 0.1, (1.0, 0.0, 0.0): 0.6, (0.5, 0.5, 0.0): 0.8}
    candidates = [Candidate(weights, guess, 0.5) for weights, guess in guesses.items()]
    chosen = verify(candidates, lambda weights: OnDev(scores(real.get(weights, 0.5))), floor=0.0, count=2)
    assert chosen.weights == (0.5, 0.5, 0.0)


def test_a_surrogate_that_orders_two_encodes_correctly_is_trusted() -> None:
    guesses = {(0.5, 0.5): 0.8, (0.8, 0.6): 0.7, (1.0, 0.0): 0.6, (0.0, 1.0): 0.5}
    candidates = [Candidate(weights, guess, 0.5) for weights, guess in guesses.items()]
    chosen = verify(candidates, lambda weights: OnDev(scores(guesses[weights] - 0.05)), floor=0.0, count=2)
    assert not chosen.surrogate_is_bad
    assert (chosen.agreement.correct, chosen.agreement.pairs) == (3, 3)
    assert chosen.agreement.summary == "3 of 3 clear pairs in the right order"


def test_a_difference_within_its_own_noise_says_nothing_of_the_surrogate() -> None:
    agreement = measure_agreement([Encoded(0.9, scores(0.50, 0.3))], [Encoded(0.5, scores(0.51, -0.3))])
    assert (agreement.pairs, agreement.is_bad) == (0, False)
    assert agreement.summary == "no clear differences between the encoded merges"


def test_real_merges_teach_the_surrogate_what_lies_between_the_experts() -> None:
    """The merged vectors bend away from the straight line; each real one puts right what is near it."""
    draw = np.random.default_rng(0)
    bent = draw.normal(size=(2, 40, 24)).astype("f")

    def real(weights: tuple[float, ...]) -> list[np.ndarray]:
        bow = 4 * weights[0] * weights[1]
        vectors = []
        for ends, bend in zip((whole.query_vectors, whole.document_vectors), bent, strict=True):
            mixed = weights[0] * ends[1] + weights[1] * ends[2] + bow * bend
            vectors.append(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))
        return vectors

    def unit(values: np.ndarray) -> np.ndarray:
        return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype("f")

    queries, documents = unit(draw.normal(size=(3, 40, 24))), unit(draw.normal(size=(3, 40, 24)))
    names = [str(number) for number in range(40)]
    whole = Task(names, names, {name: {name: 1} for name in names}, queries, documents)
    points = [(round(share, 2), round(1 - share, 2)) for share in np.arange(0, 1.01, 0.1)]

    def off(surrogate: Surrogate) -> float:
        gaps = []
        for weights in points:
            ranked = Surrogate(Task(names, names, whole.qrels, *(np.stack([v] * 3) for v in real(weights))))
            gaps.append(abs(surrogate.score(weights) - ranked.score((1.0, 0.0))))
        return float(np.mean(gaps))

    surrogate = Surrogate(whole)
    before = off(surrogate)
    surrogate.learn((1.0, 0.0), *real((1.0, 0.0)))
    assert off(surrogate) == before, "of an expert alone everything is known"
    surrogate.learn((0.5, 0.5), *real((0.5, 0.5)))
    once = off(surrogate)
    surrogate.learn((0.2, 0.8), *real((0.2, 0.8)))
    assert off(surrogate) < once < before
    assert surrogate.score((0.5, 0.5)) == pytest.approx(
        Surrogate(Task(names, names, whole.qrels, *(np.stack([v] * 3) for v in real((0.5, 0.5))))).score((1.0, 0.0)),
        abs=0.02,
    )


class Forgetful:
    """A merge that learns in proportion to its weight, and forgets faster at first."""

    def __init__(self, weights: tuple[float, ...]) -> None:
        weight = sum(weights)
        self.domain, self.general = scores(0.5 + 0.1 * weight), 0.7 - 0.05 * weight**0.5


def test_an_expert_that_forgets_too_much_is_merged_with_its_start() -> None:
    guesses = [Candidate((weight,), 0.5 + 0.1 * weight, 0.7 - 0.05 * weight) for weight in (1.0, 0.75, 0.5, 0.25)]
    rated = []

    def build_and_rate(weights: tuple[float, ...]) -> Forgetful:
        rated.append(weights)
        return Forgetful(weights)

    chosen = verify(guesses, build_and_rate, floor=0.66, count=2)
    # The surrogate expects 0.6625 of 0.75, which really forgets too much; a guess is then held to more than the floor.
    assert rated == [(1.0,), (0.75,), (0.5,)]
    assert (chosen.weights, chosen.allowed) == ((0.5,), True)


def test_the_best_merge_that_forgets_too_much_is_scaled_back_until_it_keeps_the_guard() -> None:
    """What is forgotten grows faster than with the square; the only candidate that keeps the guard learns little."""

    def real(weights: tuple[float, ...]) -> OnDev:
        rated.append(weights)
        rating = OnDev(scores(0.6 + 0.2 * min(sum(weights), 1.0)))
        rating.general = 0.75 - 0.1 * sum(weights) ** 3
        return rating

    rated: list[tuple[float, ...]] = []
    guesses = {(0.5, 0.5): 0.9, (0.1, 0.0): 0.7, (1.0, 0.0): 0.8, (0.0, 1.0): 0.8}
    candidates = [Candidate(weights, guess, 0.74) for weights, guess in guesses.items()]
    before = verify(candidates, real, floor=0.71, count=2)
    assert (before.weights, before.allowed) == ((0.1, 0.0), True)
    rated.clear()
    after = verify(candidates, real, floor=0.71, count=2, start=0.75)
    assert after.allowed
    assert after.rating.domain.ndcg_at_10 > before.rating.domain.ndcg_at_10 + 0.08
    assert len(rated) == 4 + 1, "the first one that is scaled back keeps the guard"
    rated.clear()
    assert verify(candidates, real, floor=0.6, count=2, start=0.75).allowed
    assert len(rated) == 4, "the best one keeps the guard"


def test_one_expert_is_searched_between_itself_and_its_start() -> None:
    made = task()
    alone = Task(made.queries, made.documents, made.qrels, made.query_vectors[:2], made.document_vectors[:2])
    candidates = search(alone, [], step=0.1, seed=0, methods=("linear", "task-arithmetic"))
    assert {(1.0,), (0.5,), (0.3,)} <= {candidate.weights for candidate in candidates}


@pytest.mark.parametrize(("real", "chosen"), [(0.61, (1.0,)), (0.7, (0.6,))])
def test_of_one_expert_the_expert_itself_is_chosen_unless_a_merge_with_the_start_is_clearly_better(
    real: float, chosen: tuple[float, ...]
) -> None:
    guesses = {(1.07,): 0.66, (0.6,): 0.65, (0.8,): 0.64, (1.0,): 0.6, (0.3,): 0.5}
    rated = []

    def build_and_rate(weights: tuple[float, ...]) -> OnDev:
        rated.append(weights)
        return OnDev(scores(0.6) if weights == (1.0,) else scores(real, 0.2 if real < 0.7 else 0.0))

    candidates = [Candidate(weights, guess, 0.5, bagged=weights == (1.07,)) for weights, guess in guesses.items()]
    assert verify(candidates, build_and_rate, floor=0.0, count=3).weights == chosen
    assert rated == [(1.0,), (0.6,)], "one merge is encoded, and none that is nearly the expert itself"
    rated.clear()
    best_alone = [candidate for candidate in candidates if candidate.weights[0] in (1.0, 0.3)]
    verify(best_alone, build_and_rate, floor=0.0, count=3)
    assert rated == [(1.0,)], "the surrogate expects less of every merge"


def test_bagging_returns_a_clear_winner_and_averages_unclear_ones() -> None:
    draw = np.random.default_rng(0)
    noise = draw.normal(0.5, 0.2, 100)
    clear = bagged({(1.0, 0.0): noise, (0.5, 0.5): noise + 0.1, (0.0, 1.0): noise - 0.1}, seed=0)
    assert clear == (0.5, 0.5)
    unclear = bagged({(1.0, 0.0): noise, (0.0, 1.0): draw.permutation(noise)}, seed=0)
    assert all(0.1 < weight < 0.9 for weight in unclear)
    assert sum(unclear) == pytest.approx(1.0)


def test_the_mean_of_the_winners_keeps_the_guard_and_is_encoded_first() -> None:
    made = task()
    free = search(made, [made], step=0.1, seed=0)
    floor = sorted(candidate.general for candidate in free)[-20]
    kept = [candidate for candidate in search(made, [made], step=0.1, seed=0, floor=floor) if candidate.bagged]
    assert [candidate.bagged for candidate in free].count(True) == 1
    assert kept[0].weights != next(candidate.weights for candidate in free if candidate.bagged)
    rated = []
    verify(free, lambda weights: rated.append(weights) or OnDev(scores(0.5)), floor=0.0, count=2)
    assert rated[3] == next(candidate.weights for candidate in free if candidate.bagged)


@pytest.mark.parametrize(("lead", "chosen"), [(0.0, (0.7, 0.2)), (0.05, (0.7, 0.2)), (0.2, (0.5, 0.5))])
def test_the_mean_of_the_winners_is_replaced_only_by_what_is_clearly_better(
    lead: float, chosen: tuple[float, ...]
) -> None:
    guesses = {(0.7, 0.2): 0.7, (0.5, 0.5): 0.7 + lead / 2, (1.0, 0.0): 0.6, (0.0, 1.0): 0.5}
    candidates = [Candidate(weights, guess, 0.5, bagged=weights == (0.7, 0.2)) for weights, guess in guesses.items()]
    real = {(0.7, 0.2): scores(0.7, 0.3), (0.5, 0.5): scores(0.7 + lead, -0.3 if lead < 0.1 else 0.3)}
    best = verify(candidates, lambda weights: OnDev(real.get(weights, scores(guesses[weights]))), floor=0.0, count=2)
    assert best.weights == chosen
