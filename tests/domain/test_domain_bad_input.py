"""Everything a user can get wrong in a domain file or a collection: one line that names the thing and the fix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from stm_agent.domain.beir import read_beir
from stm_agent.domain.build import build_domain_data
from stm_agent.domain.load import domain_of_collection, load_domain
from stm_agent.domain.spec import BeirCollection, HpoCollection, MtebCollection
from stm_agent.errors import ConfigError, DataError, StmAgentError
from stm_agent.testing.tiny import tiny_beir

GOOD = """\
name: mine
task: Find it.
collection:
  kind: beir
  path: data
backbone:
  model: embedded:smollm2-135m
experts:
  - name: first
    sources: [train]
    steps: 10
"""

# What the file says instead -> what the message has.
FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown key": (GOOD + "trian: {}\n", (":12: unknown key 'trian'", "did you mean train?")),
    "unknown nested key": (GOOD + "train:\n  batchsize: 2\n", (":13: unknown key 'train.batchsize'", "batch_size?")),
    "unknown key in a list": (GOOD + "    stepps: 3\n", (":12: unknown key 'experts.0.stepps'", "steps?")),
    "key of another kind": (GOOD.replace("  path: data", "  path: data\n  documents: 3"), ("'collection.documents'",)),
    "missing key": (GOOD.replace("task: Find it.\n", ""), ("key 'task' is missing; add it",)),
    "missing nested key": (GOOD.replace("    steps: 10\n", ""), (":9: key 'experts.0.steps' is missing",)),
    "missing kind": (GOOD.replace("  kind: beir\n", ""), (":3: 'collection' needs a kind: beir",)),
    "unknown kind": (GOOD.replace("kind: beir", "kind: bier"), ("'collection' needs a kind: beir",)),
    "text for a number": (GOOD.replace("steps: 10", "steps: many"), (":11: 'experts.0.steps' is 'many'", "integer")),
    "switch for a number": (GOOD.replace("steps: 10", "steps: yes"), ("'experts.0.steps' is True", "integer")),
    "fraction for a count": (GOOD.replace("steps: 10", "steps: 1.5"), ("'experts.0.steps' is 1.5",)),
    "zero steps": (GOOD.replace("steps: 10", "steps: 0"), ("'experts.0.steps' is 0", "greater than or equal to 1")),
    "number for a switch": (GOOD + "train: {embeddings: 1}\n", ("'train.embeddings' is 1", "boolean")),
    "text for a list": (GOOD.replace("[train]", "train"), ("'experts.0.sources' is 'train'",)),
    "list for a mapping": (GOOD + "train: []\n", (":12: 'train' is []",)),
    "share above one": (GOOD + "train: {warmup: 1.5}\n", ("'train.warmup' is 1.5",)),
    "endless rate": (GOOD + "train: {learning_rate: .inf}\n", ("'train.learning_rate' is inf", "finite")),
    "bad shares": (
        GOOD.replace("kind: beir\n  path: data", "kind: hpo\n  test_share: 0.6\n  dev_share: 0.5").replace(
            "[train]", "[lay]"
        ),
        ("test_share and dev_share leave no term",),
    ),
    "unknown pooling": (GOOD.replace("135m\n", "135m\n  pooling: max\n"), ("'backbone.pooling' is 'max'", "'mean'")),
    "unknown dtype": (GOOD.replace("135m\n", "135m\n  dtype: half\n"), ("'backbone.dtype' is 'half'", "'auto'")),
    "text for eos": (GOOD.replace("135m\n", "135m\n  eos: maybe\n"), ("'backbone.eos' is 'maybe'", "boolean")),
    "experts are a word": (GOOD.split("experts:")[0] + "experts: all\n", ("'experts' is 'all'", "valid tuple")),
    "expert twice": (
        GOOD + "  - {name: first, sources: [train], steps: 1}\n",
        ("expert 'first' is listed twice; give every expert its own name",),
    ),
    "start not before": (GOOD + "    start: second\n", ("starts from 'second', which is not listed before it",)),
    "source of another kind": (
        GOOD.replace("[train]", "[lay]"),
        ("asks for source 'lay'", "beir offers train, written, titles, sentences"),
    ),
    "name with a slash": (GOOD.replace("name: mine", "name: a/b"), (":1: 'name' is 'a/b'",)),
    "negative seed": (GOOD + "seeds: [-1]\n", ("'seeds.0' is -1",)),
    "key twice": (GOOD + "name: again\n", (":12: key 'name' is there twice; keep one",)),
    "not YAML": (GOOD + "train: [\n", ("is not valid YAML",)),
    "a tag that is code": (GOOD + "description: !!python/name:os.system\n", ("is not valid YAML",)),
    "not a mapping": ("- name\n", ("is not a mapping; start from: stm-agent domains new",)),
    "empty": ("", ("is not a mapping",)),
}


def assert_one_line(error: StmAgentError, *parts: str) -> None:
    assert "\n" not in str(error)
    for part in parts:
        assert part in str(error)


@pytest.mark.parametrize(("text", "parts"), FILES.values(), ids=FILES)
def test_bad_domain_file(tmp_path: Path, text: str, parts: tuple[str, ...]):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_domain(str(path), tmp_path)
    assert_one_line(caught.value, str(path), *parts)


def test_the_table_starts_from_a_good_file(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(GOOD, encoding="utf-8")
    assert load_domain("mine", tmp_path).experts[0].steps == yaml.safe_load(GOOD)["experts"][0]["steps"]


@pytest.mark.parametrize(
    ("name", "part"), [("biomedcal", "did you mean biomedical?"), ("zzz", "shipped: biomedical; or give a path")]
)
def test_unknown_domain(tmp_path: Path, name: str, part: str):
    with pytest.raises(ConfigError) as caught:
        load_domain(name, tmp_path)
    assert_one_line(caught.value, f"no domain '{name}'", part)


def test_domain_file_in_another_encoding(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_bytes("name: mäuse".encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        load_domain(str(path), tmp_path)
    assert_one_line(caught.value, str(path), "UTF-8")


def write(name: str, text: str | bytes) -> Callable[[Path], None]:
    data = text.encode() if isinstance(text, str) else text

    def apply(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return apply


def append(name: str, text: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        with (folder / name).open("a", encoding="utf-8") as stream:
            stream.write(text)

    return apply


def remove(pattern: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        for path in folder.glob(pattern):
            path.unlink()

    return apply


# What is done to a good folder -> what the message has.
FOLDERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "no corpus": (remove("corpus.jsonl"), ("corpus.jsonl is missing; a BEIR folder needs",)),
    "no queries": (remove("queries.jsonl"), ("queries.jsonl is missing",)),
    "no judgements": (remove("qrels/*.tsv"), ("has no judgements; add qrels/dev.tsv",)),
    "empty corpus": (write("corpus.jsonl", ""), ("corpus.jsonl has no documents; add",)),
    "corpus not UTF-8": (
        write("corpus.jsonl", b'{"_id": "a", "text": "\xe4"}'),
        ("corpus.jsonl is not UTF-8 (byte 22)",),
    ),
    "qrels not UTF-8": (write("qrels/dev.tsv", b"\xff\t1\t1"), ("dev.tsv is not UTF-8 (byte 0)", "iconv")),
    "broken JSON": (append("corpus.jsonl", "{oops\n"), ("corpus.jsonl:61 is not valid JSON",)),
    "row not an object": (append("corpus.jsonl", "[1]\n"), ("corpus.jsonl:61 is not an object",)),
    "fraction as id": (append("corpus.jsonl", '{"_id": 1.5, "text": "a"}\n'), (":61 has no text field '_id'",)),
    "no text": (append("queries.jsonl", '{"_id": "a"}\n'), ("has no text field 'text'",)),
    "number as title": (append("corpus.jsonl", '{"_id": "a", "title": 1, "text": ""}\n'), (":61 has a title",)),
    "duplicate document": (
        append("corpus.jsonl", '{"_id": "sore-ear", "text": "a"}\n'),
        ("corpus.jsonl:61 repeats id 'sore-ear' of line 1; make the ids unique",),
    ),
    "duplicate query": (append("queries.jsonl", '{"_id": "sore-eye/2", "text": "a"}\n'), ("repeats id 'sore-eye/2'",)),
    "empty query": (append("queries.jsonl", '{"_id": "new", "text": " "}\n'), ("query 'new' is empty",)),
    "nothing but unknown ids": (
        write("qrels/dev.tsv", "gone\tsore-ear\t1\nsore-ear/1\tgone\t1\n"),
        ("dev.tsv has no judgement that can be used", "name ids that corpus.jsonl lacks, such as 'gone'"),
    ),
    "no positive": (write("qrels/dev.tsv", "sore-ear/1\tsore-eye\t0\n"), ("such as 'sore-ear/1'", "no score above 0")),
    "score of a half": (append("qrels/dev.tsv", "sore-ear/1\tsore-eye\t0.5\n"), ("score '0.5'", "an integer, scale")),
    "split twice": (write("qrels/validation.tsv", "q\td\t1\n"), ("are both split 'dev'; keep one",)),
    "not gzip": (write("qrels/more.tsv.gz", "q\td\t1\n"), ("more.tsv.gz is not a whole gzip file",)),
    "two columns": (append("qrels/dev.tsv", "sore-ear/1 sore-ear\t1\n"), ("has 2 columns", "tabs between")),
    "score not a number": (append("qrels/dev.tsv", "sore-ear/1\tsore-ear\tyes\n"), ("has score 'yes'", "integer")),
    "two scores": (append("qrels/dev.tsv", "sore-ear/1\tsore-ear\t2\n"), ("a second time, differently; keep one",)),
    "only a header": (write("qrels/dev.tsv", "query-id\tcorpus-id\tscore\n"), ("dev.tsv has no judgements",)),
    "about is a list": (write("collection.json", "[]"), ("collection.json must be one object of strings",)),
}


@pytest.mark.parametrize(("damage", "parts"), FOLDERS.values(), ids=FOLDERS)
def test_bad_collection(tmp_path: Path, damage: Callable[[Path], None], parts: tuple[str, ...]):
    folder = tiny_beir(tmp_path / "tiny")
    damage(folder)
    with pytest.raises(DataError) as caught:
        read_beir(folder)
    assert_one_line(caught.value, str(folder), *parts)


@pytest.mark.parametrize("read", [read_beir, domain_of_collection])
def test_no_such_collection(tmp_path: Path, read: Callable[[Path], object]):
    with pytest.raises(DataError) as caught:
        read(tmp_path / "gone")
    assert_one_line(caught.value, str(tmp_path / "gone"), "does not exist; name a folder in BEIR layout")


def test_no_dev_and_nothing_to_make_it_of(tmp_path: Path):
    folder = tiny_beir(tmp_path / "tiny")
    for name in ("train", "dev"):
        (folder / "qrels" / f"{name}.tsv").unlink()
    with pytest.raises(DataError) as caught:
        build_domain_data(BeirCollection(path=Path("tiny")), tmp_path)
    assert_one_line(caught.value, "tiny has no dev split and no train split")


def test_ontology_that_cannot_be_used(tmp_path: Path, obo: Callable[..., object]):
    from stm_agent.domain.hpo import hpo_material
    from stm_agent.domain.obo import parse_obo

    for text, part in (
        ("[Term]\nid: A\n", "no data-version"),
        ("data-version: 1\n", "no term with a definition"),
        ("data-version: 1\n\n[Term]\nid: A\ndef: bare\n", "value without quotes: bare"),
    ):
        with pytest.raises(DataError) as caught:
            parse_obo(text)
        assert_one_line(caught.value, part)
    with pytest.raises(ConfigError) as config:
        hpo_material(obo(), HpoCollection(documents=1, test_share=0.4, dev_share=0.3))  # type: ignore[arg-type]
    assert_one_line(config.value, "documents is 1; dev and test alone have")


def test_mteb_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from stm_agent.domain import hub

    for name, part in (
        ("NoSuchTask", "mteb has no retrieval task 'NoSuchTask'"),
        ("Banking77Classification", "is not a retrieval"),
    ):
        with pytest.raises(ConfigError) as caught:
            build_domain_data(MtebCollection(name=name), tmp_path)
        assert_one_line(caught.value, part)
    monkeypatch.setattr(hub, "offered_splits", lambda task, subset: ("test",))
    with pytest.raises(ConfigError) as missing:
        build_domain_data(MtebCollection(name="SciFact", train_split="tarin"), tmp_path)
    assert_one_line(missing.value, "SciFact has no split 'tarin'; it has test")


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import datasets

    def refuse(*_: object) -> list[str]:
        raise ConnectionError("name resolution failed\nmore")

    monkeypatch.setattr(datasets, "get_dataset_config_names", refuse)
    with pytest.raises(DataError) as caught:
        build_domain_data(MtebCollection(name="SciFact"), tmp_path)
    assert_one_line(caught.value, "SciFact", "name resolution failed", "give --data-dir DIR")
