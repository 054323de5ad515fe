"""Data sets of the ir_datasets catalogue: a local one, by its name."""

from __future__ import annotations

import sys
import warnings

import pytest

from stm_agent.annotate.bringing import bring
from stm_agent.annotate.formats.irds import read_catalogue
from stm_agent.errors import ConfigError, DataError
from stm_agent.testing.annotate import client, fill

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ir_datasets


@pytest.fixture
def name(tmp_path):
    """A data set of two documents in the catalogue."""
    (tmp_path / "docs.tsv").write_text("c1\tA cough is loud.\nc2\tA fever is hot.\n")
    (tmp_path / "queries.tsv").write_text("q8\twhat is hot\nq9\twhat is loud\n")
    (tmp_path / "qrels").write_text("q8 0 c2 3\nq8 0 gone 1\nq9 0 c1 2\n")
    paths = {"docs_tsv": "docs.tsv", "queries_tsv": "queries.tsv", "qrels_trec": "qrels"}
    made = ir_datasets.create_dataset(**{part: str(tmp_path / file) for part, file in paths.items()})
    made_name = f"of-{tmp_path.name}/dev"
    ir_datasets.registry._registered[made_name] = made
    yield made_name
    del ir_datasets.registry._registered[made_name]


def test_documents_queries_and_judgements_come_in_by_name(small, name, tmp_path):
    from pathlib import Path

    fill(small)
    told = bring(small, "Signs", Path(f"ir_datasets:{name}"), name_of="Ada")
    assert (told["added"], told["queries"], told["judgements"]) == (2, 2, 2)
    assert told["skipped"] == {"the judged document is not in the project": 1}
    ada = client(small, "Ada")
    assert ada.get("/projects/signs/documents/c2").json()["fields"] == {"text": "A fever is hot."}
    assert {row["key"]: row["split"] for row in ada.get("/projects/signs/queries").json()}["q8"] == "dev"


def test_what_the_catalogue_lacks_is_told(monkeypatch):
    with pytest.raises(DataError, match="no 'none/such'"):
        read_catalogue("ir_datasets:none/such")
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(ConfigError, match=r"stm-agent\[ir-datasets\]"):
        read_catalogue("x")
