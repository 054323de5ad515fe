"""Collections as real users have them: every oddity is read, or counted and named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stm_agent.domain.beir import read_beir
from stm_agent.domain.build import build_domain_data
from stm_agent.domain.collection import Collection
from stm_agent.domain.collection_spec import BeirCollection
from stm_agent.domain.load import domain_of_collection
from stm_agent.domain.profile import profile
from stm_agent.domain.source_hash import collection_source_hash
from stm_agent.testing.tiny import tiny_beir, tiny_collection

CORPUS = {"d1": "one text", "d2": "two text"}
QUERIES = {"q1": "one", "q2": "two"}


def beir(
    folder: Path, qrels: dict[str, str], corpus: dict[str, str] = CORPUS, queries: dict[str, str] = QUERIES
) -> Path:
    """Write a folder by hand; ``qrels`` has file name -> content."""
    for name, rows in (("corpus.jsonl", corpus), ("queries.jsonl", queries)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in rows.items()]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    for name, content in qrels.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def pack(path: Path) -> None:
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def convert(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(path.read_bytes())) and None


@pytest.mark.parametrize(
    "change",
    [
        pack,
        convert(lambda content: b"\xef\xbb\xbf" + content),
        convert(lambda content: content.replace(b"\n", b"\r\n")),
        convert(lambda content: content.replace(b"\n", b"\r")),
        convert(lambda content: b"\n\n" + content.replace(b"\n", b"\n \n")),
    ],
    ids=["gzip", "byte order mark", "CRLF", "CR", "blank lines"],
)
def test_the_same_collection_is_read_from_every_kind_of_file(tmp_path: Path, change: Callable[[Path], None]) -> None:
    folder = tiny_beir(tmp_path / "tiny")
    for path in [folder / "corpus.jsonl", folder / "queries.jsonl", *sorted((folder / "qrels").iterdir())]:
        change(path)
    assert read_beir(folder).content_hash == tiny_collection().content_hash


def test_a_changed_packed_file_makes_another_run(tmp_path: Path) -> None:
    spec = BeirCollection(path=tiny_beir(tmp_path / "tiny"))
    pack(spec.path / "corpus.jsonl")
    before = collection_source_hash(spec, tmp_path)
    packed = spec.path / "corpus.jsonl.gz"
    packed.write_bytes(gzip.compress(gzip.decompress(packed.read_bytes()) + b'{"_id": "more", "text": "more"}\n'))
    assert collection_source_hash(spec, tmp_path) != before


def test_a_cut_gzip_file_is_one_line(tmp_path: Path) -> None:
    from stm_agent.errors import DataError

    folder = tiny_beir(tmp_path / "tiny")
    pack(folder / "corpus.jsonl")
    packed = folder / "corpus.jsonl.gz"
    packed.write_bytes(packed.read_bytes()[:200])
    with pytest.raises(DataError, match="is not a whole gzip file"):
        read_beir(folder)


JUDGED = {"q1": {"d1": 1}, "q2": {"d2": 1}}


@pytest.mark.parametrize(
    "content",
    [
        "q1\td1\t1.0\nq2\td2\t1\n",
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1.\n",
        "q1 0 d1 1\nq2 0 d2 1\n",
        "q1\tQ0\td1\t1\nq2\tQ0\td2\t1\n",
        "query\titer\tdoc\trel\nq1\t0\td1\t1\nq2\t0\td2\t1\n",
        "sep=;\nquery-id;corpus-id;score\nq1;d1;1\nq2;d2;1\n",
        'sep=,\n"q1","d1",1\n"q2","d2",1\n',
    ],
    ids=["first score 1.0", "floats", "TREC", "TREC with tabs", "TREC with a header", "Excel", "quoted CSV"],
)
def test_judgements_are_read_in_every_form(tmp_path: Path, content: str) -> None:
    assert read_beir(beir(tmp_path / "c", {"qrels/dev.tsv": content})).splits["dev"].qrels == JUDGED


@pytest.mark.parametrize("name", ["qrels.tsv", "qrels.txt", "qrels.qrels", "qrels/all.tsv", "qrels/topics.qrels"])
def test_one_file_with_all_judgements_is_cut(tmp_path: Path, name: str) -> None:
    numbers = range(200)
    corpus = {f"d{number}": f"passage of {number}" for number in numbers}
    queries = {f"q{number}": f"question {number}" for number in numbers}
    qrels = "".join(f"q{number} 0 d{number} 1\n" for number in numbers)
    folder = beir(tmp_path / "c", {name: qrels}, corpus, queries)
    assert len(read_beir(folder).splits) == 1
    splits = build_domain_data(BeirCollection(path=folder), tmp_path).collection.splits
    assert {key: len(split.queries) for key, split in splits.items()} == {"train": 120, "test": 40, "dev": 40}
    assert domain_of_collection(folder).planned


@pytest.mark.parametrize("name", ["validation", "valid", "val", "Validation"])
def test_a_validation_split_is_dev(tmp_path: Path, name: str) -> None:
    folder = tiny_beir(tmp_path / "tiny")
    (folder / "qrels" / "dev.tsv").rename(folder / "qrels" / f"{name}.tsv")
    assert read_beir(folder).content_hash == tiny_collection().content_hash


def test_judgements_of_missing_ids_are_left_out_and_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    qrels = "q1\td1\t1\nq1\tgone\t1\nq2\tlost\t1\nq9\td1\t1\n"
    collection = read_beir(beir(tmp_path / "c", {"qrels/dev.tsv": qrels}))
    assert collection.splits["dev"].qrels == {"q1": {"d1": 1}}
    assert len(caplog.messages) == len(collection.notes) == 3
    assert "2 of 4 judgements name ids that corpus.jsonl lacks, such as 'gone'; left out" in caplog.text
    assert "1 of 4 judgements name ids that queries.jsonl lacks, such as 'q9'; left out" in caplog.text
    assert "1 of 2 queries have no judgement to learn from" in caplog.text


def test_queries_without_a_positive_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = beir(tmp_path / "c", {"qrels/dev.tsv": "q1\td1\t1\nq1\td2\t-2\nq2\td2\t0\n"})
    assert read_beir(folder).splits["dev"].qrels == {"q1": {"d1": 1, "d2": -2}}
    assert "1 queries, such as 'q2', have no score above 0; left out" in caplog.text


@pytest.mark.parametrize("ids", [(1, 10), ("two words", "a query"), ("a/b", "q/judgements/1"), ('"x"_(y)', '"q')])
def test_ids_may_be_anything(tmp_path: Path, ids: tuple[object, object]) -> None:
    document, query = ids
    folder = tmp_path / "c"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": document, "title": None, "text": "one"}))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": query, "text": "first"}))
    (folder / "qrels" / "dev.tsv").write_text(f"{query}\t{document}\t1\n")
    collection = read_beir(folder)
    assert collection.splits["dev"].qrels == {str(query): {str(document): 1}}
    assert profile(collection).documents == 1


def corpus_of(folder: Path, documents: dict[str, str]) -> Collection:
    return read_beir(beir(folder, {"qrels/dev.tsv": "q1\td1\t1\n"}, documents))


def test_one_dev_query_and_ten_documents_are_measured(tmp_path: Path) -> None:
    facts = profile(corpus_of(tmp_path / "c", {f"d{number}": f"passage {number}" for number in range(10)}))
    assert (facts.documents, facts.dev_queries) == (10, 1)


def test_two_documents_with_one_text_are_counted(tmp_path: Path) -> None:
    assert profile(corpus_of(tmp_path / "c", {"d1": "a text", "d2": "A text.", "d3": "b"})).exact_duplicates == 1


def test_a_passage_of_100_000_words_is_read(tmp_path: Path) -> None:
    facts = profile(corpus_of(tmp_path / "c", {"d1": "word and " * 50_000, "d2": "short"}))
    assert facts.passage_tokens_max > 90_000
