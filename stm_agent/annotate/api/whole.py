"""Whole projects come in as files: an archive, or one of AIANO's."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fastapi import APIRouter, UploadFile

from stm_agent.annotate.api.common import The, Who, uploaded
from stm_agent.annotate.api.parsing import BodyRoute
from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.formats import archive
from stm_agent.annotate.services import moving, projects

router = APIRouter(tags=["projects"], route_class=BodyRoute)


class ImportedProject(projects.ProjectView):
    """A project made of one of AIANO's files; ``queries`` are those that were made, ``skipped`` says why not more."""

    skipped: dict[str, int]
    highlights_without_text: int


@router.post("/projects/import", status_code=201)
def import_project(file: UploadFile, tool: The, who: Who) -> ImportedProject | projects.ProjectView:
    """Make a project of an archive (.zip), of AIANO's dataset JSON, or of an .aiano file; all of it or nothing."""
    who.needs("admin")
    name = Path(str(file.filename)).name
    if Path(name).suffix.lower() not in (".zip", ".aiano", ".json"):
        raise Invalid(f"{name} is not a .zip, .aiano or .json file; to import only documents, open a project first")
    if name.lower().endswith(".zip"):
        unpacked = archive.unpack(file.file.read())
        with tool.database.writing() as session:
            return projects.view(session, moving.import_archive(session, who, unpacked))
    with tempfile.TemporaryDirectory() as scrap:
        path = uploaded(file, Path(scrap))
        with tool.database.writing() as session:
            made, report = moving.import_aiano(session, who, path)
            return {**projects.view(session, made), **report}
