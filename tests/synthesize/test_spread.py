"""Passages are spread over the clusters of a corpus, and judgements decide nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from stm_agent.synthesize.spread import choose_passages, cluster

TOPICS = 4


class Topics:
    """An encoder whose vector of a text is its topic, the first word, with a little noise."""

    def passages(self, texts: list[str]) -> NDArray[np.float32]:
        rows = []
        for text in texts:
            topic, number = map(int, text.split())
            vector = np.zeros(TOPICS + 1, dtype=np.float32)
            vector[topic], vector[TOPICS] = 1.0, 0.001 * number
            rows.append(vector / np.linalg.norm(vector))
        return np.stack(rows)


def corpus(sizes: tuple[int, ...]) -> dict[str, str]:
    return {f"{topic}-{n}": f"{topic} {n}" for topic, size in enumerate(sizes) for n in range(size)}


def topics_of(passages: tuple[str, ...]) -> Counter[str]:
    return Counter(name.partition("-")[0] for name in passages)


def test_a_rare_topic_gets_its_passage() -> None:
    pool = corpus((60, 60, 60, 3))
    chosen = choose_passages(pool, 30, seed=0, encoder=Topics())  # type: ignore[arg-type]
    drawn = [topics_of(choose_passages(pool, 4, seed=seed, encoder=None).passages) for seed in range(5)]
    assert set(topics_of(chosen.passages)) == {"0", "1", "2", "3"}
    assert len(set(chosen.passages)) == 30
    assert any(len(topics) < TOPICS for topics in drawn), "a blind draw misses it"


def test_the_draw_is_the_same_for_a_seed_and_another_for_another() -> None:
    pool = corpus((20, 20, 20, 20))
    first, again, other = (choose_passages(pool, 10, seed=seed, encoder=Topics()).passages for seed in (1, 1, 2))  # type: ignore[arg-type]
    assert first == again != other


def test_a_pool_that_is_small_or_has_equal_texts_is_no_problem() -> None:
    assert choose_passages({}, 3, seed=0, encoder=None).passages == ()
    assert choose_passages({"a": "0 1", "b": " "}, 3, seed=0, encoder=None).passages == ("a",)
    same = {str(n): "1 1" for n in range(8)}
    assert len(choose_passages(same, 5, seed=0, encoder=Topics()).passages) == 5  # type: ignore[arg-type]


def test_k_means_separates_topics() -> None:
    vectors = Topics().passages(["0 1", "1 1", "2 1", "3 1", *(f"{n % 4} {n}" for n in range(40))])
    labels = cluster(vectors, 4)
    assert len({(n % 4, int(label)) for n, label in enumerate(labels)}) == 4
