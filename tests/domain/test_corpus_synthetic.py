"""Written queries become a collection that is split by document and calls itself synthetic wherever it goes."""

from __future__ import annotations

import dataclasses

import pytest

from stm_agent.domain.beir import read_beir, write_beir
from stm_agent.domain.beir_files import offers_train
from stm_agent.domain.build import build_domain_data
from stm_agent.domain.collection import Document
from stm_agent.domain.passages import cut_passages, draw_passages
from stm_agent.domain.spec import BeirCollection
from stm_agent.domain.splitting import complete_splits
from stm_agent.domain.synthetic import COPIED, FOREIGN, REPEATED, check_can_be_split, synthetic_collection
from stm_agent.errors import DataError

WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty", "knoll", "ledge")


def text_of(number):
    word = WORDS[number % 12]
    return " ".join(f"The {word} of place {number} has {part} stones and nobody counts them." for part in range(25))


@pytest.fixture
def passages():
    return cut_passages([Document(f"d{number}", "", text_of(number)) for number in range(24)])


def written_for(passages):
    drawn = draw_passages(passages, 72, seed=0)
    return [(key, f"how many {key.replace('#', ' ')} stones") for key in drawn]


def made(passages, written, seed=0, **more):
    return synthetic_collection("stones", passages, written, writer="a model", seed=seed, **more)


def test_all_queries_of_a_document_are_in_one_split(passages):
    collection = made(passages, written_for(passages)).collection
    homes = {}
    for name, split in collection.splits.items():
        for grades in split.qrels.values():
            for passage in grades:
                homes.setdefault(passages.document_of[passage], set()).add(name)
    assert all(len(names) == 1 for names in homes.values())
    sizes = {name: len(split.queries) for name, split in collection.splits.items()}
    assert sum(sizes.values()) == 72
    assert sizes["train"] > sizes["dev"] >= sizes["test"] > 15


def test_the_same_seed_gives_the_same_splits_and_another_one_others(passages):
    written = written_for(passages)
    assert made(passages, written).collection == made(passages, written).collection
    assert made(passages, written).collection != made(passages, written, seed=1).collection


def test_queries_that_repeat_another_one_are_left_out_and_counted(passages):
    written = written_for(passages)
    copies = [(key, text.upper() + "?") for key, text in written[:3]]
    result = made(passages, [*written, *copies, (written[0][0], "сколько здесь камней")])
    assert result.left_out == {REPEATED: 3, FOREIGN: 1}
    assert sum(len(split.queries) for split in result.collection.splits.values()) == 72


def test_copies_train_and_are_in_neither_dev_nor_test(passages):
    written = written_for(passages)
    copied = {entry for number, entry in enumerate(written) if number % 3 == 0}
    result = made(passages, written, copied=copied)
    splits = result.collection.splits
    texts = {query for _, query in copied}
    assert texts & set(splits["train"].queries.values())
    assert not texts & {query for name in ("dev", "test") for query in splits[name].queries.values()}
    kept = len(texts & set(splits["train"].queries.values()))
    assert (result.copied, result.left_out) == (kept, {COPIED: 24 - kept})
    sizes = {name: len(split.queries) for name, split in splits.items()}
    assert sum(sizes.values()) == 72 - (24 - kept)
    assert min(sizes["dev"], sizes["test"]) > 12


def test_a_document_with_copies_alone_trains(passages):
    written = written_for(passages)
    copied = {entry for entry in written if passages.document_of[entry[0]] in ("d0", "d1", "d2")}
    result = made(passages, written, copied=copied)
    assert (result.copied, result.left_out) == (len(copied), {})


def test_copies_count_as_none_of_the_queries_that_are_needed(passages):
    written = written_for(passages)
    with pytest.raises(DataError, match=r"12 usable queries .* \(left out: 60 copied from its passage.*stronger"):
        made(passages, written, copied=set(written[:60]))


def test_documents_in_six_languages_get_queries_in_their_own(passages):
    russian = Document("ru", "", "Камни лежат у реки, и никто их не считает. " * 20)
    corpus = cut_passages([*(Document(f"d{number}", "", text_of(number)) for number in range(24)), russian])
    result = made(corpus, [*written_for(passages), ("ru#1", "кто считает камни"), ("ru#2", "who counts the stones")])
    assert result.left_out == {FOREIGN: 1}
    assert "кто считает камни" in str(result.collection.splits)


def test_of_passages_with_one_text_all_are_relevant_and_their_documents_stay_together(passages):
    twin = Document("twin", "", text_of(0))
    corpus = cut_passages([*(Document(f"d{number}", "", text_of(number)) for number in range(24)), twin])
    collection = made(corpus, written_for(corpus)).collection
    (home,) = {name for name, split in collection.splits.items() if "d0#1" in str(split.qrels)}
    assert {name for name, split in collection.splits.items() if "twin#1" in str(split.qrels)} == {home}
    pairs = [set(grades) for grades in collection.splits[home].qrels.values() if len(grades) == 2]
    assert {"d0#1", "twin#1"} in pairs


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([Document("d0", "", text_of(0))], r"from 1 document\(s\); train, dev and test need 20 passages from 3 doc"),
        ([Document(f"d{number}", "", text_of(number)) for number in range(4)], "add documents"),
    ],
)
def test_a_corpus_of_one_document_is_refused_before_anything_is_paid(documents, message):
    passages = cut_passages(documents)
    with pytest.raises(DataError, match=message):
        check_can_be_split("stones", draw_passages(passages, 500, seed=0), passages)


def test_one_document_of_200_pages_is_split_by_its_parts():
    passages = cut_passages([Document("book", "", " ".join(text_of(number) for number in range(60)))])
    drawn = draw_passages(passages, 500, seed=0)
    check_can_be_split("book", drawn, passages)
    collection = made(passages, [(key, f"how many {key[5:]} stones") for key in drawn]).collection
    assert min(len(split.queries) for split in collection.splits.values()) > 20


def test_too_few_usable_queries_are_told_with_their_reasons_and_the_way_on(passages):
    same = [(key, "what is this about") for key, _ in written_for(passages)]
    with pytest.raises(DataError, match=r"1 usable queries .* \(left out: 71 repeats another .*--generator, or write"):
        made(passages, same)


def test_files_and_splits_say_synthetic_and_splits_are_not_mixed_afterwards(passages, tmp_path):
    collection = made(passages, written_for(passages)).collection
    folder = write_beir(collection, tmp_path / "stones")
    names = sorted(path.name for path in folder.rglob("*") if path.is_file())
    assert names == [
        *("collection.json", "corpus.jsonl", "dev.synthetic.tsv", "queries.synthetic.jsonl"),
        *("test.synthetic.tsv", "train.synthetic.tsv"),
    ]
    read = read_beir(folder)
    assert read.splits == dict(sorted(collection.splits.items()))
    assert read.synthetic == ("dev", "test", "train")
    assert "the queries of dev and test and train are synthetic: an LLM wrote" in " ".join(read.notes)
    assert offers_train(folder)
    data = build_domain_data(BeirCollection(path=folder), tmp_path)
    assert data.collection.splits == read.splits, "a small dev split does not grow: documents would be divided"


def test_a_split_that_people_judged_replaces_the_written_one(passages, tmp_path):
    folder = write_beir(made(passages, written_for(passages)).collection, tmp_path / "stones")
    dev = read_beir(folder).splits["dev"]
    judged = dataclasses.replace(read_beir(folder), splits={"dev": dataclasses.replace(dev, synthetic=False)})
    people = write_beir(judged, tmp_path / "judged")
    (people / "queries.jsonl").rename(folder / "queries.jsonl")
    (folder / "qrels" / "dev.synthetic.tsv").unlink()
    (people / "qrels" / "dev.tsv").rename(folder / "qrels" / "dev.tsv")
    mixed = read_beir(folder)
    assert mixed.synthetic == ("test", "train")
    again = read_beir(write_beir(mixed, tmp_path / "again"))
    assert (again.splits, again.synthetic) == (mixed.splits, mixed.synthetic)


def test_a_split_cut_from_written_queries_is_synthetic_too(passages):
    collection = made(passages, written_for(passages)).collection
    train_only = dataclasses.replace(collection, splits={"train": collection.splits["train"]})
    cut, _plan = complete_splits(train_only)
    assert cut.splits["dev"].synthetic


def test_a_folder_without_judgements_names_both_ways_on(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "b"}\n')
    with pytest.raises(DataError, match="stm-agent optimize --corpus"):
        read_beir(tmp_path)
    (tmp_path / "queries.jsonl").write_text('{"_id": "a", "text": "b"}\n')
    with pytest.raises(DataError, match=r"no judgements; .*stm-agent annotate --collection .* --corpus"):
        read_beir(tmp_path)
