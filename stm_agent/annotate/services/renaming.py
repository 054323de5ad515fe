"""A renamed document field: its key moves in every document and piece of evidence, and back when renamed back."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from stm_agent.annotate.faults import Invalid
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services.recording import history
from stm_agent.annotate.tables import Document, Evidence, Project

AT_ONCE = 2000


def renames(old: ProjectSchema, new: ProjectSchema) -> dict[str, str]:
    """Return old name -> new name of the fields that have another."""
    names = {field.id: field.name for field in new.fields}
    return {field.name: names[field.id] for field in old.fields if names.get(field.id, field.name) != field.name}


def rename_fields(session: Session, project: Project, old: ProjectSchema, new: ProjectSchema) -> int:
    """Move the keys of renamed fields in all documents; return how many documents changed.

    Raises:
        Invalid: A document has something else under the new name.
    """
    names = renames(old, new)
    if not names:
        return 0
    changed, last = 0, 0
    moving, taken = set[str](), dict[str, str]()
    wanted = select(Document.id, Document.key, Document.fields).where(Document.project_id == project.id)
    while rows := session.execute(wanted.where(Document.id > last).order_by(Document.id).limit(AT_ONCE)).all():
        last = rows[-1].id
        moves = []
        for number, key, fields in rows:
            taken = {**{old: key for old, new in names.items() if _other(fields, old, new, names)}, **taken}
            if there := names.keys() & fields:
                moving |= there
                moves.append({"id": number, "fields": {names.get(name, name): one for name, one in fields.items()}})
        if clash := sorted(moving & taken.keys()):
            name = clash[0]
            raise Invalid(
                f"document '{taken[name]}' has a '{names[name]}' that is not its '{name}'; choose another name"
            )
        if moves:
            session.execute(update(Document), moves)
        changed += len(moves)
    _rename_marks(session, project, names)
    return changed


def _other(fields: Mapping[str, object], old: str, new: str, names: dict[str, str]) -> bool:
    """Return whether a document has something else under the new name, which stays where it is."""
    return new in fields and new not in names and fields[new] != fields.get(old)


def _rename_marks(session: Session, project: Project, names: dict[str, str]) -> None:
    own = select(Document.id).where(Document.project_id == project.id)
    marks = update(Evidence).where(Evidence.document_id.in_(own), Evidence.field.in_(names))
    session.execute(marks.values(field=case(names, value=Evidence.field)).execution_options(synchronize_session=False))
    session.expire_all()


def name_since(session: Session, project: Project, change: int, field: str) -> str:
    """Return what a field of that name, at the time of a recorded change, is called now."""
    for edit in history(session, project, project.key):
        if edit.id > change and edit.before and edit.after and "schema" in edit.before:
            old, new = (ProjectSchema.model_validate(one["schema"]) for one in (edit.before, edit.after))
            field = renames(old, new).get(field, field)
    return field
