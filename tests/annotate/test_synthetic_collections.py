"""A split whose queries an LLM wrote comes in as queries to judge, never as somebody's judgements."""

from __future__ import annotations

import dataclasses
import json
import sys
from contextlib import closing

import pytest
from sqlalchemy import func, select

from stm_agent.annotate.tables import Judgement, Query, Ranking
from stm_agent.annotate.tool import open_tool
from stm_agent.cli.annotate import _on_collection
from stm_agent.cli.main import main
from stm_agent.domain.beir import read_beir, write_beir
from stm_agent.testing.tiny import tiny_collection


@pytest.fixture
def folder(tmp_path):
    tiny = tiny_collection()
    splits = {name: dataclasses.replace(split, synthetic=True) for name, split in tiny.splits.items()}
    return write_beir(dataclasses.replace(tiny, splits=splits), tmp_path / "tiny-synthetic")


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    space = tmp_path / "space"
    (space / "programs").mkdir(parents=True)

    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["stm-agent", "annotate", *map(str, words), "--workspace", str(space)])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        assert (stop.value.code or 0) == code, output.err
        return output.out if code == 0 else output.err

    run.space = space
    return run


def count(session, what):
    return session.scalar(select(func.count()).select_from(what))


def test_dev_comes_in_to_be_judged_and_what_the_llm_was_shown_is_in_the_pool(call, folder):
    report = json.loads(call("import", "Tiny", folder, "--split", "dev", "--json"))
    assert (report["added"], report["queries"], report["judgements"]) == (60, 12, 0)
    assert report["skipped"] == {"an LLM wrote the query; its passage is in the pool, not judged": 12}
    with closing(open_tool(call.space)) as tool, tool.database.reading() as session:
        assert count(session, Judgement) == 0
        assert set(session.scalars(select(Query.split))) == {"dev"}
        assert set(session.scalars(select(Ranking.run))) == {"synthetic"}
        assert count(session, Ranking) == 12


def test_judged_by_people_dev_replaces_the_written_one(call, folder, tmp_path):
    call("import", "Tiny", folder, "--split", "dev")
    dev = read_beir(folder).splits["dev"]
    qrels = tmp_path / "mine.qrels"
    qrels.write_text("".join(f"{query} 0 {key} 1\n" for query, row in dev.qrels.items() for key in row))
    call("import", "Tiny", qrels)
    call("export", "Tiny", "beir", "--output", tmp_path / "judged")
    (tmp_path / "judged" / "queries.jsonl").rename(folder / "queries.jsonl")
    (tmp_path / "judged" / "qrels" / "dev.tsv").rename(folder / "qrels" / "dev.tsv")
    (folder / "qrels" / "dev.synthetic.tsv").unlink()
    assert read_beir(folder).synthetic == ("test", "train")
    assert read_beir(folder).splits["dev"].qrels == dev.qrels


def test_the_tool_opens_on_one_split_of_a_folder(folder, tmp_path):
    with closing(open_tool(tmp_path)) as tool:
        _on_collection(tool, folder, "dev")
        with tool.database.reading() as session:
            assert (count(session, Query), count(session, Judgement), count(session, Ranking)) == (12, 0, 12)


def test_a_split_that_is_not_there_is_named_with_those_that_are(call, folder):
    assert "no split 'best'; there are dev, test, train" in call("import", "T", folder, "--split", "best", code=2)
