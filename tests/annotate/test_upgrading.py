"""A database of an earlier version keeps what is in it."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from stm_agent.annotate.database import MIGRATIONS, migrate
from stm_agent.llm.scripted import scripted
from stm_agent.testing.annotate import client, fill


def test_drafts_grades_and_llms_of_an_earlier_version_stay(tool, tmp_path):
    fill(tool)
    ada = client(tool, "Ada")
    ada.put("/llms", json={"name": "script", "model": "scripted:numbered"})
    tool.doors.door = lambda choice: scripted(lambda messages: "2", tmp_path)
    ada.post("/projects/signs/runs", json={"retrievers": ["bm25"]})
    assert ada.post("/projects/signs/queries/q2/llm-grades", json={}).json()["graded"] > 0
    drafts = ada.get("/projects/signs/drafts").json()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = tool.database.engine
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
    migrate(engine)
    assert ada.get("/projects/signs/drafts").json() == drafts
    assert ada.get("/llms").json()[0]["version"] == 1
    with tool.database.reading() as session:
        assert session.execute(text("SELECT count(*) FROM llm_grades")).scalar() == len(drafts)
