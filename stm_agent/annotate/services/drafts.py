"""Drafts: asked, streamed, kept with their whole provenance, and decided on by a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate import answers, drafting
from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import Invalid, NotFound
from stm_agent.annotate.schema import Block, ProjectSchema
from stm_agent.annotate.services import documents, entries
from stm_agent.annotate.services.hearing import Ask, Came
from stm_agent.annotate.services.judging import check_sighted
from stm_agent.annotate.services.llms import LlmChoice
from stm_agent.annotate.services.recording import record
from stm_agent.annotate.storable import words
from stm_agent.annotate.tables import Draft, Entry, Project
from stm_agent.annotate.values import BlockValue
from stm_agent.files import content_hash

if TYPE_CHECKING:
    from stm_agent.llm.answer import Completion

DECISIONS = ("accepted", "edited", "rejected", "offered")
DECIDED = ("accepted", "edited", "rejected")
WAITING = ("offered", "superseded")
"""States that can be decided on: also of one that another took the place of before its decision arrived."""
LONGEST_FINAL = 200_000
"""Largest number of characters of a text that a draft became: to count the edits takes the product of two lengths."""
UNHEARD = ("failed", "stopped")
"""States of a draft that never was one."""


class DraftView(TypedDict):
    """A draft as JSON, whole; ``cut``: its answer was cut off at the token limit."""

    key: str
    entry_key: str | None
    block: str
    model: str
    parameters: dict[str, object]
    messages: list[dict[str, str]]
    answer: str
    error: str
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    state: str
    asked_by: str | None
    decided_by: str | None
    final: str | None
    edit_distance: int | None
    cut: bool
    created_at: str


class ReadDraft(DraftView):
    """A draft with its ``value``: an offered one as its block holds it."""

    value: BlockValue | None


class Outcome(TypedDict):
    """What a decision makes of a draft."""

    state: str
    final: str | None
    edit_distance: int | None


def block_of(schema: ProjectSchema, block: str) -> Block:
    """Return a block.

    Raises:
        NotFound: The project has none of that id.
    """
    found = next((one for one in schema.blocks if one.id == block), None)
    if found is None:
        raise NotFound(f"the project has no block '{block}'")
    return found


def chat_of(
    session: Session, project: Project, entry: Entry | None, block: Block, choice: LlmChoice, document: str | None
) -> list[dict[str, str]]:
    """Return the chat of a block for an entry; None: one that is not there yet, and empty.

    Raises:
        Invalid: A required input is empty, or the block has no LLM.
    """
    schema = ProjectSchema.model_validate(project.schema)
    shown = entries.view(session, entry)["evidence"] if entry else []
    fields = documents.get(session, project, document).fields if document else {}
    evidence = [drafting.Evidence(row["document"], row["text"], row["level"]) for row in shown]
    return drafting.compose(
        schema,
        block,
        values=entry.values if entry else {},
        evidence=evidence,
        fields=fields,
        system=choice.system_prompt,
    )


def next_rollout(
    session: Session, project: Project, entry_key: str | None, block: Block, chat: list[dict[str, str]]
) -> int:
    """Return the number of the next sample: asking again gives a new answer, also if the last one did not fit.

    Where chance has a part, the same chat for another entry or document is asked again too. Without it that would be
    to pay twice for the same words.
    """
    # What was heard to its end has its price.
    heard = [Draft.project_id == project.id, Draft.block == block.id, Draft.usd.is_not(None), Draft.state != "stopped"]
    if block.temperature > 0:
        heard.append(Draft.chat_hash == content_hash(chat))
    elif entry_key is None:
        return 0
    else:
        heard.append(Draft.entry_key == entry_key)
    return session.scalar(select(func.count()).where(*heard)) or 0


def keep(session: Session, actor: Actor, project: Project, ask: Ask, came: Came) -> Draft:
    """Write down a draft, or what there is of one that failed or was stopped; the entry is not touched.

    A whole one takes the place of what its asker has waiting for the same block.
    """
    if came.state == "offered":
        _supersede(session, project, ask.entry_key, ask.block.id, actor.name)
    parameters = {**ask.parameters, **({"cut": True} if came.cut else {})}
    about = (ask.entry_key, ask.block.id, ask.model, parameters, ask.chat)
    draft = write(session, project, *about, came.done, came.error)
    draft.answer, draft.state, draft.asked_by = came.text, came.state, actor.name
    if came.done is None:
        # Who stops every draft just before its end spends the project's dollars all the same.
        draft.usd = came.partial_usd
    session.flush()
    return draft


def _supersede(session: Session, project: Project, entry_key: str | None, block: str, asked_by: str | None) -> None:
    waits = (Draft.entry_key == entry_key, Draft.block == block, Draft.state == "offered", Draft.asked_by == asked_by)
    session.execute(update(Draft).where(Draft.project_id == project.id, *waits).values(state="superseded"))


def write(
    session: Session,
    project: Project,
    entry_key: str | None,
    block: str,
    model: str,
    parameters: Mapping[str, object],
    chat: list[dict[str, str]],
    done: Completion | None,
    error: str,
) -> Draft:
    """Write down what an LLM was asked and said, or how it failed."""
    draft = Draft(
        project_id=project.id,
        entry_key=entry_key,
        block=block,
        model=model,
        parameters=parameters,
        messages=chat,
        chat_hash=content_hash(chat),
        answer=done.text if done else "",
        error=error,
        prompt_tokens=done.prompt_tokens if done else 0,
        completion_tokens=done.completion_tokens if done else 0,
        usd=done.usd if done else None,
        state="failed" if error else "offered",
    )
    session.add(draft)
    session.flush()
    return draft


def view(draft: Draft) -> DraftView:
    """Return a draft as JSON, whole."""
    return {
        "key": draft.key,
        "entry_key": draft.entry_key,
        "block": draft.block,
        "model": draft.model,
        "parameters": draft.parameters,
        "messages": draft.messages,
        "answer": draft.answer,
        "error": draft.error,
        "prompt_tokens": draft.prompt_tokens,
        "completion_tokens": draft.completion_tokens,
        "usd": draft.usd,
        "state": draft.state,
        "asked_by": draft.asked_by,
        "decided_by": draft.decided_by,
        "final": draft.final,
        "edit_distance": draft.edit_distance,
        "cut": bool(draft.parameters.get("cut")),
        "created_at": draft.created_at.isoformat(),
    }


def decide(session: Session, actor: Actor, project: Project, key: str, decision: str, final: str | None) -> DraftView:
    """Write down what a person made of a draft; what they keep is saved with the entry, not here.

    ``offered`` takes a decision back, or a draft that another took the place of; one of the block that waits waits no
    more. Said twice, as by a page that did not hear the answer, it is said once.

    Raises:
        NotFound: The draft does not exist.
        Forbidden: It is for somebody else's entry, or for none.
        Invalid: No such decision, it does not wait for one, or it has none to take back.
    """
    row = _to_decide(session, actor, project, key)
    if decision not in DECISIONS:
        raise Invalid(f"a draft is {', '.join(DECISIONS)}, not '{decision}'")
    outcome = _outcome(row, decision, final)
    before = {"state": row.state, "final": row.final}
    if before == {"state": outcome["state"], "final": outcome["final"]}:
        return view(row)
    if decision != "offered" and row.state not in WAITING:
        raise Invalid(f"this draft is already {row.state}")
    if decision == "offered" and row.state not in (*DECIDED, "superseded"):
        raise Invalid(f"this draft is {row.state}; nobody decided on it")
    if decision == "offered":
        _supersede(session, project, row.entry_key, row.block, row.asked_by)
    row.state, row.final, row.edit_distance = outcome["state"], outcome["final"], outcome["edit_distance"]
    row.decided_by = actor.name
    if before["state"] not in WAITING:
        record(session, project, actor, "draft.offer", key, before, {"state": row.state, "final": row.final})
    session.flush()
    return view(row)


def _to_decide(session: Session, actor: Actor, project: Project, key: str) -> Draft:
    """Return a draft that a person may decide on, held until the transaction ends."""
    row = session.scalar(select(Draft).where(Draft.project_id == project.id, Draft.key == key).with_for_update())
    if row is None:
        raise NotFound(f"there is no draft '{key}'")
    if row.entry_key is None or entries.find(session, actor, project, row.entry_key).person_id != actor.id:
        actor.needs("admin")
    return row


def _outcome(row: Draft, decision: str, final: str | None) -> Outcome:
    if decision not in ("accepted", "edited"):
        return {"state": decision, "final": None, "edit_distance": None}
    kept = row.answer if final is None else words(final, "the text that is kept", LONGEST_FINAL)
    # What stands around an answer is nobody's edit.
    distance = drafting.edit_distance(row.answer.strip(), kept.strip())
    return {"state": "edited" if distance else "accepted", "final": kept, "edit_distance": distance}


def listed(session: Session, actor: Actor, project: Project, entry_key: str | None = None) -> list[ReadDraft]:
    """Return drafts, oldest first: of one entry, or, for reviewers, all.

    Raises:
        Forbidden: All are asked for, an LLM's grades among them, by somebody whose own grades are waited for.
    """
    wanted = select(Draft).where(Draft.project_id == project.id).order_by(Draft.id)
    if entry_key is None:
        actor.needs("reviewer")
        check_sighted(session, actor, project)
    else:
        entries.find(session, actor, project, entry_key)
        wanted = wanted.where(Draft.entry_key == entry_key)
    schema = ProjectSchema.model_validate(project.schema)
    return [{**view(row), "value": _value(schema, row)} for row in session.scalars(wanted)]


def _value(schema: ProjectSchema, row: Draft) -> BlockValue | None:
    """Return an offered draft as its block holds it; None where that block is gone or cannot hold it."""
    block = next((one for one in schema.blocks if one.id == row.block), None)
    if block is None or row.state != "offered":
        return None
    try:
        return answers.fitted(block, row.answer)
    except Invalid:
        return None
