"""General guard tasks are fixed by their content, whichever Python runs them."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from stm_agent.domain import frozen_tasks
from stm_agent.domain.build import build_collection
from stm_agent.domain.collection_spec import FrozenCollection
from stm_agent.domain.load import domain_of_collection, load_domain
from stm_agent.domain.source_hash import collection_source_hash
from stm_agent.domain.spec import PythonDocsCollection, WordNetCollection
from stm_agent.domain.text import normalise
from stm_agent.errors import DataError
from stm_agent.testing.tiny import tiny_beir

TASKS = [PythonDocsCollection(documents=40), WordNetCollection(documents=40)]


@pytest.mark.parametrize("spec", TASKS, ids=lambda spec: spec.kind)
def test_a_frozen_collection_is_a_task(spec: FrozenCollection):
    collection = build_collection(spec, Path())
    assert [len(collection.splits[name].queries) for name in ("dev", "test")] == [20, 20]
    texts = collection.texts
    assert len({normalise(text) for text in texts.values()}) == 40
    for key, query in collection.splits["dev"].queries.items():
        assert collection.splits["dev"].qrels[key] == {key: 1}
        assert not texts[key].startswith(query)


@pytest.mark.parametrize("spec", TASKS, ids=lambda spec: spec.kind)
def test_another_python_has_the_same_guards(spec: FrozenCollection, monkeypatch: pytest.MonkeyPatch):
    before = build_collection(spec, Path()).content_hash, collection_source_hash(spec, Path())
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    assert before == (build_collection(spec, Path()).content_hash, collection_source_hash(spec, Path()))


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = (frozen_tasks.FOLDER / "wordnet.jsonl").read_text(encoding="utf-8")
    (tmp_path / "wordnet.jsonl").write_text(text.replace("bomber", "fighter"), encoding="utf-8")
    monkeypatch.setattr(frozen_tasks, "FOLDER", tmp_path)
    with pytest.raises(DataError, match="missing or was changed; install stm-agent again"):
        build_collection(WordNetCollection(documents=40), Path())


def test_folders_and_the_shipped_domain_have_two_guards(tmp_path: Path):
    for spec in (domain_of_collection(tiny_beir(tmp_path / "beir")), load_domain("biomedical", tmp_path)):
        assert {guard.kind for guard in spec.general} == {"python-docs", "wordnet"}
