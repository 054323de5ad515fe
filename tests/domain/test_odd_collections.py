"""Collections whose queries or scripts are unusual: each kind was ranked or mined wrongly once."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from stm_agent.domain import hub
from stm_agent.domain.beir import read_beir, write_beir
from stm_agent.domain.collection import Collection, Document, Split
from stm_agent.domain.sources import judged_domain_data
from stm_agent.domain.spec import MineSpec, MtebCollection
from stm_agent.evaluate.baselines import bm25_run
from stm_agent.evaluate.ranking import rank
from stm_agent.evaluate.scoring import ScoredTask
from stm_agent.evaluate.tasks import mteb_task
from stm_agent.loop.evaluate_single import evaluate_model
from stm_agent.mine.negatives import mine

ARGUMENTS = {
    "veg-pro": "vegetarian food reduces the risk of food poisoning in the home",
    "veg-con": "meat that is cooked well reduces the risk of food poisoning just as much",
    "car-pro": "cars should be banned from old city centres for clean air",
    "car-con": "a ban of cars from old city centres hurts shops",
    "1": "an unrelated passage about one thing",
}


def of(texts: dict[str, str], queries: dict[str, str], relevant: dict[str, str], *names: str) -> Collection:
    """Return a collection in which each of the named splits has all queries."""
    documents = tuple(Document(key, "", text) for key, text in texts.items())
    qrels = {query: {document: 1} for query, document in relevant.items()}
    return Collection("odd", documents, {name: Split(name, queries, qrels) for name in names}, "", "")


@pytest.fixture
def arguments(tmp_path: Path) -> Collection:
    """ArguAna in small: queries are documents; query 1 only has the number of a document."""
    queries = {"veg-pro": ARGUMENTS["veg-pro"], "car-pro": ARGUMENTS["car-pro"], "1": "why not ban cars"}
    relevant = {"veg-pro": "veg-con", "car-pro": "car-con", "1": "car-con"}
    return read_beir(write_beir(of(ARGUMENTS, queries, relevant, "train", "dev"), tmp_path / "arguments"))


def test_queries_that_are_documents_are_found_by_id_and_text(
    arguments: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    assert arguments.splits["dev"].ignored_ids == {"veg-pro", "car-pro"}
    assert "4 queries are documents" in arguments.notes[0]
    part = arguments.splits["dev"].only(["veg-pro", "1"], "search")
    assert part.ignored_ids == {"veg-pro"}


def test_a_query_is_never_ranked_against_itself(arguments: Collection, tmp_path: Path) -> None:
    assert evaluate_model("bm25", arguments, "dev", runs=tmp_path / "runs")["ndcg_at_10"] == 1.0
    split = arguments.splits["dev"]
    run = bm25_run(arguments.texts, split.queries, k=1, ignored_ids=split.ignored_ids)
    assert {query: list(hits) for query, hits in run.items()}["veg-pro"] == ["veg-con"]
    vectors = np.eye(3, dtype=np.float32)
    names = ["a", "b", "c"]
    plain = rank(names, vectors, names, vectors, k=1)
    assert [list(plain[name]) for name in names] == [["a"], ["b"], ["c"]]
    ignoring = rank(names, vectors, names, vectors, k=3, ignored_ids={"a"})
    assert set(ignoring["a"]) == {"b", "c"}
    assert set(ignoring["b"]) == {"a", "b", "c"}


def test_what_is_ignored_survives_writing_and_is_part_of_every_hash(arguments: Collection, tmp_path: Path) -> None:
    again = read_beir(write_beir(arguments, tmp_path / "again"))
    assert again == arguments
    split = arguments.splits["dev"]
    plain = Split("dev", split.queries, split.qrels)
    assert ScoredTask("t", arguments.texts, split).content_hash != ScoredTask("t", arguments.texts, plain).content_hash
    assert mteb_task(arguments, "dev").ignore_identical_ids


def test_a_query_that_is_a_document_is_never_its_own_negative(arguments: Collection) -> None:
    splits = {**arguments.splits, "dev": Split("dev", {"x": "other"}, {"x": {"1": 1}})}
    data = judged_domain_data(Collection("odd", arguments.documents, splits, "", ""))
    pairs = data.sources["train"]
    mined = mine(pairs, data.pool, data.groups, spec=MineSpec(), encoder=None).negatives
    itself = {negative.passage_id for pair in pairs for negative in mined[pair.id] if pair.query == negative.text}
    assert len(pairs) >= 2
    assert itself == set()


def test_mteb_tasks_keep_their_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {
        "corpus": [{"id": "a", "text": "alpha"}, {"id": "b", "text": "beta"}],
        "queries": [{"id": "a", "text": "alpha as query"}],
        "relevant_docs": {"a": {"b": 1}},
    }
    about = SimpleNamespace(dataset={"path": "p", "revision": "r"}, license=None)
    for rule, ignored in ((True, {"a"}), (False, set())):
        task = SimpleNamespace(metadata=about, ignore_identical_ids=rule)
        monkeypatch.setattr(hub, "find_task", lambda name, task=task: task)
        monkeypatch.setattr(hub, "chosen_subset", lambda task, subset: "default")
        monkeypatch.setattr(hub, "offered_splits", lambda task, subset: ("test",))
        monkeypatch.setattr(hub, "_load", lambda task, subset, splits: {"test": data})
        assert hub.read_mteb(MtebCollection(name="ArguAna")).splits["test"].ignored_ids == ignored


def test_positives_of_one_query_text_are_not_negatives_of_its_other_id() -> None:
    texts = {
        "rest": "sore knee: rest the leg and put it up",
        "ice": "sore knee: put ice on the leg for ten minutes",
        "doc": "a sore knee that is hot needs a doctor",
        "toe": "a toe",
    }
    train = Split("train", {"1": "sore knee", "2": "Sore knee!"}, {"1": {"rest": 1}, "2": {"ice": 1}})
    dev = Split("dev", {"3": "toe"}, {"3": {"toe": 1}})
    collection = of(texts, {}, {})
    data = judged_domain_data(Collection("twins", collection.documents, {"train": train, "dev": dev}, "", ""))
    pairs = data.sources["train"]
    assert {pair.group for pair in pairs} == {"1"}
    assert data.groups["1"] == {"rest", "ice"}
    mined = mine(pairs, data.pool, data.groups, spec=MineSpec(), encoder=None).negatives
    assert {negative.passage_id for row in mined.values() for negative in row} == {"doc"}


def test_a_copy_of_a_relevant_document_is_never_a_negative() -> None:
    from stm_agent.train.query_rows import query_rows

    texts = {"a": "rest the sore knee", "twin": "rest the sore  knee", "c": "a toe"}
    train, dev = Split("train", {"1": "knee"}, {"1": {"a": 1}}), Split("dev", {"3": "toe"}, {"3": {"c": 1}})
    documents = of(texts, {}, {}).documents
    data = judged_domain_data(Collection("copies", documents, {"train": train, "dev": dev}, "", ""))
    assert data.groups["1"] == {"a", "twin"}
    (row,) = query_rows(data.sources["train"], data.pool, data.groups)
    assert (row.positives, row.left_out) == ((0,), (1,))


def test_groups_of_one_query_text_protect_each_other_in_mining() -> None:
    from stm_agent.domain.data import Pair

    pool = {"a": "red knee after a fall", "b": "red knee after a run", "c": "red knee of a child"}
    pairs = [Pair("1", "red knee", pool["a"], "s", "g1"), Pair("2", "Red knee", pool["b"], "s", "g2")]
    groups = {"g1": frozenset({"a"}), "g2": frozenset({"b"})}
    mined = mine(pairs, pool, groups, spec=MineSpec(), encoder=None)
    assert {negative.passage_id for row in mined.negatives.values() for negative in row} == {"c"}


def test_a_train_query_of_other_symbols_is_not_a_leak(caplog: pytest.LogCaptureFixture) -> None:
    texts = {"c": "C has pointers.", "cpp": "C++ has references.", "cold": "Freeze it.", "warm": "Warm it."}
    train = Split(
        "train", {"1": "What is C++?", "2": "at 5 °C", "3": "का"}, {"1": {"cpp": 1}, "2": {"warm": 1}, "3": {"c": 1}}
    )
    dev = Split(
        "dev", {"4": "What is C?", "5": "at -5 °C", "6": "की"}, {"4": {"c": 1}, "5": {"cold": 1}, "6": {"c": 1}}
    )
    collection = of(texts, {}, {})
    data = judged_domain_data(Collection("symbols", collection.documents, {"train": train, "dev": dev}, "", ""))
    assert len(data.sources["train"]) == 3
    assert "left out" not in caplog.text


HINDI = {
    "h0": "घुटने में दर्द और सूजन",
    "h1": "बुखार और खाँसी का इलाज",
    "h2": "त्वचा पर लाल चकत्ते",
    "h3": "बच्चों में कान का दर्द",
    "h4": "पेट में जलन और गैस",
    "h5": "आँखों में सूखापन",
}
HINDI_QUERIES = {"h0": "घुटने की सूजन", "h1": "खाँसी का इलाज", "h2": "लाल चकत्ते", "h3": "कान का दर्द", "h5": "आँखों का सूखापन"}
FRENCH = {
    "f0": "cafés à Genève",
    "f1": "résumé détaillé du procès",
    "f2": "brûlure légère à la main",
    "f3": "été très chaud",
}
FRENCH_QUERIES = {"f0": "café Genève", "f1": "résumé du procès", "f2": "brûlure à la main", "f3": "chaleur en été"}
ARABIC = {"a0": "ذَهَبَ الوَلَدُ إلى المَدْرَسَة", "a1": "أكَلَ الوَلَدُ التُفّاحَة"}


@pytest.mark.parametrize(
    ("texts", "queries"),
    [
        (HINDI, HINDI_QUERIES),
        (FRENCH, FRENCH_QUERIES),
        ({key: unicodedata.normalize("NFD", text) for key, text in FRENCH.items()}, FRENCH_QUERIES),
        (FRENCH, {key: unicodedata.normalize("NFD", text) for key, text in FRENCH_QUERIES.items()}),
        (ARABIC, {"a0": "المدرسة", "a1": "التفاحة"}),
        ({"h0": "שָׁלוֹם עוֹלָם", "h1": "בֹּקֶר טוֹב"}, {"h0": "שלום", "h1": "בוקר טוב"}),
        ({"z0": "发烧的病人需要多休息", "z1": "膝盖肿胀通常由运动损伤引起"}, {"z0": "发烧怎么办", "z1": "膝盖肿了"}),
    ],
    ids=["Hindi", "French", "French corpus in NFD", "French queries in NFD", "Arabic", "Hebrew", "Chinese"],
)
def test_keywords_are_found_in_every_script(texts: dict[str, str], queries: dict[str, str], tmp_path: Path) -> None:
    collection = of(
        texts, {f"q{key}": text for key, text in queries.items()}, {f"q{key}": key for key in queries}, "dev"
    )
    assert evaluate_model("bm25", collection, "dev", runs=tmp_path / "runs")["ndcg_at_10"] == 1.0
