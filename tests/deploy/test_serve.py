"""The server: OpenAI's shape, the ledger's vectors and score, search, thumbs, and what is refused."""

from __future__ import annotations

import base64
import json
import os
import socket
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from stm_agent.deploy.app import build_app
from stm_agent.deploy.product import product_of_model, product_of_run
from stm_agent.deploy.service import ServeOptions, Service
from stm_agent.files import read_jsonl
from stm_agent.testing.run import pico_run
from stm_agent.testing.serving import serving_app

PROMPTS = {"query": "ask: ", "document": "say: "}

TEXTS = ["my knee is sore", "A finding of painful sensation affecting the knee.", "swollen " * 200]


@pytest.fixture(scope="module")
def service(space, plain, asked):
    service = Service([product_of_run(asked), product_of_run(plain)], space, ServeOptions(capacity=512))
    service.search.wait()
    yield service
    service.close()


@pytest.fixture(scope="module")
def url(service):
    with serving_app(build_app(service, hosts=("127.0.0.1",))) as url:
        yield url


@pytest.fixture(scope="module")
def openai(url):
    from openai import OpenAI

    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def vectors_of(run: Path, texts: list[str], prefix: str):
    from stm_agent.backbone.load import load_model
    from stm_agent.backbone.sides import encoder_of

    return encoder_of(load_model(str(run / "model"))).encode(texts, prefix=prefix)


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("side", ["query", "passage"])
def test_vectors_over_http_are_those_of_the_model(openai, asked, side, encoding):
    answer = openai.embeddings.create(
        model="asked-1", input=TEXTS, encoding_format=encoding, extra_body={"input_type": side}
    )
    rows = [row.embedding for row in answer.data]
    if encoding == "base64":
        rows = [np.frombuffer(base64.b64decode(row), dtype="<f4") for row in rows]
    prefix = PROMPTS["query" if side == "query" else "document"]
    assert np.abs(np.array(rows) - vectors_of(asked, TEXTS, prefix)).max() < 1e-5
    assert answer.model == "asked-1"
    # The third text is longer than the window of 64 tokens.
    assert 64 < answer.usage.prompt_tokens < 64 + 200


def test_a_suffix_of_the_name_states_the_input_type(openai):
    by_suffix = openai.embeddings.create(model="asked-1-query", input=TEXTS[0]).data[0].embedding
    by_field = openai.embeddings.create(model="asked-1", input=TEXTS[0], extra_body={"input_type": "query"})
    other = openai.embeddings.create(model="asked-1-passage", input=TEXTS[0]).data[0].embedding
    assert by_suffix == by_field.data[0].embedding != other


def test_dimensions_are_cut_and_normalised_where_they_were_trained(openai):
    whole = np.array(openai.embeddings.create(model="plain-1", input="a knee").data[0].embedding)
    cut = np.array(openai.embeddings.create(model="plain-1", input="a knee", dimensions=8).data[0].embedding)
    assert np.allclose(cut, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-5)


def test_models_have_their_content_hash_and_their_proof(url, plain):
    rows = {row["id"]: row for row in httpx.get(f"{url}/v1/models").json()["data"]}
    product = product_of_run(plain)
    assert rows["plain-1"]["sha256"] == product.sha256
    assert rows["plain-1"]["proved_dev_ndcg_at_10"] == read_jsonl(plain / "ledger.jsonl")[0]["reloaded"]
    assert rows["plain-1"]["dimensions"] == [8, 16, 32]
    assert [rows[name]["needs_input_type"] for name in ("plain-1", "asked-1")] == [False, True]


def test_litellm_asks_the_server(url, openai):
    import litellm

    answer = litellm.embedding(model="openai/plain-1", input=["a knee"], api_base=f"{url}/v1", api_key="none")
    direct = openai.embeddings.create(model="plain-1", input=["a knee"])
    assert answer.data[0]["embedding"] == pytest.approx(direct.data[0].embedding)


def test_the_dev_score_by_mteb_over_http_is_the_ledgers(openai, plain, monkeypatch):
    """By mteb's own wrapper of the API, unchanged."""
    import litellm

    # LiteLLM brings the tokenizer that the wrapper would fetch.
    folder = Path(litellm.__file__).parent / "litellm_core_utils" / "tokenizers"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
    from mteb.models import ModelMeta
    from mteb.models.model_implementations.openai_models import OpenAIModel
    from mteb.models.model_meta import ScoringFunction

    from stm_agent.domain.beir import read_beir
    from stm_agent.evaluate.cached import corpus_task
    from stm_agent.evaluate.tasks import evaluate_with_mteb

    collection = read_beir(plain / "dev")
    model = OpenAIModel("plain-1", max_tokens=8191, embed_dim=32, client=openai)
    about = {"name": "stm-agent/served", "revision": "1", "similarity_fn_name": ScoringFunction.COSINE}
    model.mteb_model_meta = ModelMeta.create_empty(about)
    scores = evaluate_with_mteb(model, corpus_task(collection.texts, collection.splits["dev"]))
    assert scores["ndcg_at_10"] == pytest.approx(read_jsonl(plain / "ledger.jsonl")[0]["reloaded"], abs=1e-5)


REFUSED = {
    "empty list": ({"model": "plain-1", "input": []}, 400, "empty list"),
    "empty text": ({"model": "plain-1", "input": ["a", " "]}, 400, "input 1 is empty"),
    "tokens": ({"model": "plain-1", "input": [1, 2]}, 400, "token numbers"),
    "lists of tokens": ({"model": "plain-1", "input": [[1, 2]]}, 400, "token numbers"),
    "a number": ({"model": "plain-1", "input": 3}, 400, "a text or a list of texts"),
    "a list of other things": ({"model": "plain-1", "input": ["a", None]}, 400, "input 1 is not a text"),
    "too many": ({"model": "plain-1", "input": ["a"] * 2049}, 400, "2048 are allowed"),
    "more than the queue": ({"model": "plain-1", "input": ["a"] * 600}, 400, "512 may wait"),
    "too long": ({"model": "plain-1", "input": "a" * 200_001}, 400, "200000 are allowed"),
    "unknown model": ({"model": "gpt", "input": "a"}, 404, "there is asked-1, plain-1"),
    "unknown field": ({"model": "plain-1", "input": "a", "pooling": "cls"}, 400, "pooling"),
    "untrained length": ({"model": "plain-1", "input": "a", "dimensions": 9}, 400, "8, 16, 32"),
    "no input type": ({"model": "asked-1", "input": "a"}, 400, "asked-1-query"),
    "unknown input type": ({"model": "asked-1", "input": "a", "input_type": "x"}, 400, "unknown"),
    "contradiction": ({"model": "asked-1-query", "input": "a", "input_type": "passage"}, 400, "leave one out"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_cannot_be_fulfilled_says_why(url, name):
    body, status, words = REFUSED[name]
    answer = httpx.post(f"{url}/v1/embeddings", json=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


WRONG = {
    "texts and numbers": {"model": "plain-1", "input": ["a", *[1] * 200_000]},
    "few texts and many numbers": {"model": "plain-1", "input": ["a", *[1] * 2000]},
    "lists of tokens and texts": {"model": "plain-1", "input": [[1, "a"]] * 2000},
    "unknown fields": {"model": "plain-1", "input": "a", **{f"field{number}": 1 for number in range(200_000)}},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_body_with_many_faults_is_one_error(url, name):
    """One error for each would take a thousand times the memory of the body."""
    from stm_agent.deploy.wire import EmbeddingsRequest, Refused, texts_of

    with pytest.raises((ValidationError, Refused)) as raised:
        texts_of(EmbeddingsRequest.model_validate_json(json.dumps(WRONG[name])))
    assert not isinstance(raised.value, ValidationError) or raised.value.error_count() <= 2
    answer = httpx.post(f"{url}/v1/embeddings", json=WRONG[name])
    assert answer.status_code == 400
    assert len(answer.json()["error"]["message"]) < 200


def test_what_is_no_request_is_refused_before_it_is_read(url):
    post = f"{url}/v1/embeddings"
    large = json.dumps({"model": "plain-1", "input": "a" * 10_000_000})
    answers = [
        httpx.post(post, content=large, headers={"content-type": "application/json"}),
        httpx.post(post, content=b"{", headers={"content-type": "application/json"}),
        httpx.post(post, content=b"{}", headers={"content-type": "text/plain"}),
        httpx.post(f"{post}?api_key=secret", json={}),
        httpx.get(f"{url}/v2"),
        httpx.get(post),
        httpx.get(f"{url}/v1/models", headers={"host": "evil.example"}),
    ]
    assert [answer.status_code for answer in answers] == [413, 400, 415, 400, 404, 405, 400]
    assert "secret" not in answers[3].text


def test_a_key_is_asked_for_if_there_is_one(service):
    with serving_app(build_app(service, key="s3cret")) as url:
        statuses = [
            httpx.get(f"{url}/v1/models", headers=headers).status_code
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer s3cret"})
        ]
        assert statuses == [401, 401, 200]
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/metrics").status_code == 401


@pytest.mark.parametrize("mode", ["dense", "bm25", "fused"])
def test_search_ranks_as_the_run_does(url, asked, mode):
    from stm_agent.evaluate.baselines import bm25_run
    from stm_agent.inspect.search import search_run

    words = "sore painful knee"
    hits = httpx.post(f"{url}/v1/search", json={"query": words, "mode": mode, "top": 5}).json()["hits"]
    if mode == "bm25":
        from stm_agent.domain.beir import read_beir

        ranked = bm25_run(read_beir(asked / "dev").texts, {"q": words})["q"]
        expected = sorted(ranked, key=lambda key: -ranked[key])[:5]
    else:
        expected = [hit["id"] for hit in search_run(asked, words, 5, fused=mode == "fused")]
    assert [hit["document"] for hit in hits] == expected
    assert hits[0]["text"]


def test_thumbs_become_reviews_judgements_and_training_pairs(url, space):
    """The next run, the annotation tool and a training source read the same file."""
    from stm_agent.annotate.incoming import read_incoming
    from stm_agent.domain.text import normalise
    from stm_agent.domain.training_files import read_training_rows, rows_of_path
    from stm_agent.mine.reviewed import refused

    query = "my knee is sore"
    for document, relevant in (("sore-knee", True), ("sore-eye", False), ("weak-eye", True), ("weak-eye", None)):
        body = {"query": query, "document": document, "relevant": relevant, "seen_in": "asked-1 dense 1"}
        assert httpx.post(f"{url}/v1/judgements", json=body).status_code == 200
    assert httpx.post(f"{url}/v1/judgements", json={**body, "document": "none"}).status_code == 404
    hits = httpx.post(f"{url}/v1/search", json={"query": query, "top": 60}).json()["hits"]
    thumbs = {hit["document"]: hit["relevant"] for hit in hits if hit["relevant"] is not None}
    assert thumbs == {"sore-knee": True, "sore-eye": False}

    liked = "A finding of painful sensation affecting the knee."
    assert refused(space) == {(normalise(query), normalise(liked))}
    file = space / "reviews" / "search-asked-1.jsonl"
    incoming = read_incoming(file)
    assert list(incoming.asked.grades["train"].values()) == [{"sore-knee": 1, "sore-eye": 0}]
    assert list(incoming.asked.queries.values()) == [query]
    assert {row["_id"] for _, row in incoming.rows} == {"sore-knee", "sore-eye"}
    rows = [row for _, row in read_training_rows(rows_of_path(file)) if row is not None]
    assert [(row.query, row.positives, row.negatives) for row in rows] == [(query, (liked,), ())]


def test_metrics_count_requests_texts_and_batches(url, openai):
    openai.embeddings.create(model="plain-1", input=["one knee", "two knees"])
    text = httpx.get(f"{url}/metrics").text
    assert 'stm_agent_requests_total{route="/v1/embeddings",status="200"}' in text
    assert 'stm_agent_texts_total{input_type="passage",model="plain-1"}' in text
    assert 'stm_agent_batch_texts_count{model="plain-1"}' in text
    assert 'stm_agent_waiting_texts{model="plain-1"} 0.0' in text


def test_a_model_without_a_run_has_no_corpus(plain):
    service = Service([product_of_model(str(plain / "model"))], plain, ServeOptions())
    with serving_app(build_app(service)) as url:
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "model"
        assert httpx.post(f"{url}/v1/search", json={"query": "a"}).status_code == 404
        assert httpx.get(f"{url}/health").json()["search"] is None
    service.close()


def test_files_that_were_changed_after_they_were_scored_are_refused(space):
    from stm_agent.errors import CheckFailed

    run = pico_run(space / "elsewhere", "changed-1")
    assert product_of_run(run).proved_dev is not None
    (run / "model" / "README.md").write_text("a card may change")
    assert product_of_run(run).proved_dev is not None
    weights = run / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + os.urandom(1))
    with pytest.raises(CheckFailed, match="not those that run changed-1 scored"):
        product_of_run(run)


def test_a_run_without_a_proof_of_its_model_is_deployed_with_a_warning(space, caplog):
    run = pico_run(space / "elsewhere", "unproved-1")
    product_of_run(run)
    assert not caplog.records
    (run / "ledger.jsonl").unlink()
    assert product_of_run(run).proved_dev is None
    assert "run unproved-1 has no proof of its model" in caplog.text


def test_thumbs_that_cannot_be_stored_are_one_line(service, url, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(service._thumbs, "path", tmp_path / "file" / "reviews" / "search.jsonl")
    body = {"query": "my knee", "document": "sore-knee", "relevant": True}
    answer = httpx.post(f"{url}/v1/judgements", json=body)
    assert answer.status_code == 500
    assert "cannot write" in answer.json()["error"]["message"]


def test_the_address_of_a_server_takes_connections_when_it_is_announced(plain, tmp_path, monkeypatch):
    """It is printed before uvicorn has begun, and whoever reads it may connect at once."""
    from stm_agent.deploy import serve

    reached = []

    def announce(url):
        with socket.create_connection(url.rpartition("/")[2].split(":"), timeout=5):
            reached.append(url)

    def served(server, *_sockets):
        server.started = True

    monkeypatch.setattr(serve, "run_until_stopped", served)
    products = [product_of_model(str(plain / "model"))]
    serve.serve(products, tmp_path, serve.Listening(port=0), ServeOptions(), announce=announce)
    assert len(reached) == 1


def test_a_model_is_hashed_while_libraries_are_imported_and_still_has_to_be_the_one_that_was_scored(space):
    from stm_agent.cli.deploy_names import prepare_product
    from stm_agent.errors import CheckFailed, RunError

    run = pico_run(space / "elsewhere", "prepared-1")
    assert prepare_product("prepared-1", space / "elsewhere")() == product_of_run(run)
    assert prepare_product(str(run / "model"), space)() == product_of_model(str(run / "model"))
    weights = run / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + os.urandom(1))
    with pytest.raises(CheckFailed, match="not those that run prepared-1 scored"):
        prepare_product("prepared-1", space / "elsewhere")()
    (run / "model" / "modules.json").unlink()
    with pytest.raises(RunError, match="has no model yet"):
        prepare_product("prepared-1", space / "elsewhere")
