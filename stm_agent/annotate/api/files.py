"""Files in and out of a project: documents, TREC runs and qrels, and every export."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from fastapi import APIRouter, BackgroundTasks, UploadFile
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.api.common import The, Who, uploaded
from stm_agent.annotate.api.parsing import BodyRoute
from stm_agent.annotate.formats import trec
from stm_agent.annotate.incoming import read_incoming
from stm_agent.annotate.reading import decoded
from stm_agent.annotate.report import ReportView
from stm_agent.annotate.services import judging, moving, projects, runs, searching
from stm_agent.annotate.tool import Tool
from stm_agent.errors import StmAgentError

router = APIRouter(prefix="/projects/{project}", tags=["files"], route_class=BodyRoute)


@router.post("/runs/trec")
def import_run(project: str, file: UploadFile, tool: The, who: Who) -> dict[str, str | int]:
    """Store a TREC run."""
    tag, run = trec.read_run(decoded(file.file.read(), str(file.filename)))
    return {"run": tag, **runs.put_run(tool.database, who, project, tag, run)}


@router.post("/qrels")
def import_qrels(project: str, file: UploadFile, tool: The, who: Who) -> ReportView:
    """Take TREC qrels as this person's judgements; a grade they gave themselves stays."""
    qrels = trec.read_qrels(decoded(file.file.read(), str(file.filename)))
    with tool.database.writing() as session:
        return moving.import_qrels(session, who, projects.find(session, who, project), qrels).told()


@router.post("/import")
def import_file(project: str, file: UploadFile, tool: The, who: Who, later: BackgroundTasks) -> ReportView:
    """Import documents of a .json, .jsonl, .csv or .tsv file, or a zip of a BEIR or ``datasets`` folder.

    The report says what was skipped and why.
    """
    who.needs("admin")
    with tempfile.TemporaryDirectory() as scrap:
        incoming = read_incoming(uploaded(file, Path(scrap)))
    with tool.database.writing() as session:
        told = moving.bring_in(session, who, projects.find(session, who, project), incoming).told()
    later.add_task(_index, tool, who, project)
    return told


def _index(tool: Tool, who: Actor, project: str) -> None:
    """Index the documents now, so that the first search need not wait for it."""
    with contextlib.suppress(StmAgentError), tool.database.reading() as session:
        searching.corpus_of(session, tool.finder, projects.find(session, who, project))


@router.get("/export/{kind}")
def export(project: str, kind: str, tool: The, who: Who) -> FileResponse:
    """Return an export: a file, or a folder as a zip.

    The header ``x-left-out`` counts the queries that nothing can be scored on; ``x-missing`` names the splits that
    ``stm-agent optimize`` needs and that have no judged query.
    """
    scrap = Path(tempfile.mkdtemp())
    clean = BackgroundTask(shutil.rmtree, scrap, ignore_errors=True)
    try:
        with tool.database.reading() as session:
            row = projects.find(session, who, project)
            # An export has everybody's grades, which nobody who still judges is to see.
            who.needs("reviewer")
            judging.check_sighted(session, who, row)
            told = moving.export(session, row, kind, scrap / "out")
            name = "".join(letter if letter.isalnum() else "-" for letter in row.name)
        notes = {"x-left-out": told.get("left_out"), "x-missing": told.get("missing")}
        headers = {name: note for name, note in notes.items() if note is not None}
        if (scrap / "out").is_dir():
            shutil.make_archive(str(scrap / "folder"), "zip", scrap / "out")
            whole = scrap / "folder.zip"
            return FileResponse(whole, filename=f"{name}-{kind}.zip", headers=headers, background=clean)
        ending = {"archive": "zip", "aiano": "json", "aiano-project": "aiano", "drafts": "jsonl"}.get(kind, "tsv")
        return FileResponse(scrap / "out", filename=f"{name}-{kind}.{ending}", background=clean)
    except StmAgentError:
        shutil.rmtree(scrap, ignore_errors=True)
        raise
