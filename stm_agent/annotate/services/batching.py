"""Drafts by the dozen: which documents or entries a block is still to be drafted for, and one of those drafts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.database import Database
from stm_agent.annotate.faults import Forbidden, Invalid
from stm_agent.annotate.schema import Block
from stm_agent.annotate.services import documents, drafts, entries, projects
from stm_agent.annotate.services.ceilings import Ceilings, highest_usd
from stm_agent.annotate.services.hearing import Ask
from stm_agent.annotate.services.llms import LlmChoice
from stm_agent.annotate.tables import Draft, Entry, Project

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient


@dataclass(frozen=True)
class Place:
    """Where a draft goes: into an entry that is there, or into one to be begun for a document."""

    document: str | None
    entry: str | None = None
    name: str = ""

    @property
    def told(self) -> str:
        """What people know it by."""
        return self.name or self.entry or self.document or ""


def for_documents(
    session: Session, actor: Actor, project: Project, block: Block, keys: Sequence[str]
) -> tuple[list[Place], int]:
    """Return documents to draft a block for, and how many were left out: the person has an entry with it already."""
    mine = _own(session, actor, project)
    had = _drafted(session, project, block, mine)
    known = {entry.extra.get("document") for entry in mine if entry.key in had}
    wanted = list(dict.fromkeys(keys))
    places = [Place(key) for key in wanted if key not in known]
    return places, len(wanted) - len(places)


def for_entries(
    session: Session, actor: Actor, project: Project, block: Block, wanted: Sequence[str] | str, *, limit: int
) -> tuple[list[Place], int]:
    """Return entries of one's own to draft a block for, and how many were left out: they have it already.

    Args:
        session: The database.
        actor: Who asks.
        project: The project.
        block: The block to draft.
        wanted: Keys of entries, or a state: the first ``limit`` entries in it that lack the block.
        limit: Entries of a state, at most.

    Raises:
        NotFound: The entry does not exist.
        Forbidden: One is somebody else's.
    """
    if isinstance(wanted, str):
        found = [entry for entry in _own(session, actor, project) if entry.state == wanted]
    else:
        found = [entries.find(session, actor, project, key) for key in dict.fromkeys(wanted)]
        limit = len(found)
    for entry in found:
        if entry.person_id != actor.id:
            raise Forbidden(f"entry '{entry.key}' belongs to somebody else; draft in your own")
    had = _drafted(session, project, block, found)
    lacking = [entry for entry in found if entry.key not in had][:limit]
    shown = entries.views(session, lacking)
    # As on the page, an entry brings the document of its first evidence along, or the one it was begun for.
    places = [
        Place(next((mark["document"] for mark in row["evidence"]), row["about"] or None), row["key"], row["name"])
        for row in shown
    ]
    return places, len(had)


def _own(session: Session, actor: Actor, project: Project) -> list[Entry]:
    mine = (Entry.project_id == project.id, Entry.person_id == actor.id)
    return list(session.scalars(select(Entry).where(*mine).order_by(Entry.id)))


def _drafted(session: Session, project: Project, block: Block, found: Sequence[Entry]) -> set[str]:
    """Return the keys of the entries that have a value of a block, or a draft of it, whatever became of that."""
    asked = (Draft.project_id == project.id, Draft.block == block.id, Draft.state.not_in(drafts.UNHEARD))
    drafted = set(session.scalars(select(Draft.entry_key).where(*asked)))
    empty: tuple[object, ...] = (None, "", [])
    return {entry.key for entry in found if entry.key in drafted or entry.values.get(block.id) not in empty}


@dataclass(frozen=True)
class Batch:
    """One block drafted in many places by one person."""

    database: Database
    actor: Actor
    project: str
    block: str
    choice: LlmChoice
    door: LlmClient
    ceilings: Ceilings

    def draft(self, place: Place, stopped: Callable[[], bool]) -> None:
        """Draft the block in one place; the draft waits to be decided on.

        Raises:
            Invalid: It failed; a new entry was not started.
            Forbidden: The project's ceiling of LLM calls or dollars is reached.
        """
        with ExitStack() as held:
            with self.database.reading() as session:
                ask = self._ask(session, place)
                row = projects.find(session, self.actor, self.project)
                highest = partial(highest_usd, self.door, ask.chat, ask.block.max_tokens)
                held.enter_context(self.ceilings.call(session, self.actor, row, self.choice.model, highest))
            self._draft(place, ask, stopped)

    def _draft(self, place: Place, ask: Ask, stopped: Callable[[], bool]) -> None:
        # No transaction is open while an LLM thinks.
        came = ask.of(self.door).whole(stopped).fitting(ask.block)
        with self.database.writing() as session:
            row = projects.find(session, self.actor, self.project)
            if place.entry is None and came.state == "offered":
                # Not before there is something in it: an LLM that is dead leaves no list of empty entries.
                entry = entries.create(session, self.actor, row, document=place.document)
                entry.name = place.document or ""
                ask = replace(ask, entry_key=entry.key)
            drafts.keep(session, self.actor, row, ask, came)
        if came.error:
            raise Invalid(f"{place.told}: {came.error}")

    def _ask(self, session: Session, place: Place) -> Ask:
        row = projects.find(session, self.actor, self.project, to_write=True)
        block = drafts.block_of(projects.read_schema(row.schema), self.block)
        entry = entries.find(session, self.actor, row, place.entry) if place.entry else None
        try:
            chat = drafts.chat_of(session, row, entry, block, self.choice, place.document)
        except Invalid as fault:
            raise Invalid(f"{place.told}: {fault}") from fault
        return Ask(
            place.entry, block, self.choice.model, chat, drafts.next_rollout(session, row, place.entry, block, chat)
        )


def first_documents(session: Session, project: Project, limit: int) -> list[str]:
    """Return the keys of a project's first documents."""
    return [one["key"] for one in documents.page(session, project, limit=limit)["documents"]]
