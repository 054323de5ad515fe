"""The LLMs an administrator set up: keys encrypted, never sent to a browser, base URLs nobody else can set."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NotRequired

from sqlalchemy import select, update
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import Invalid, NotFound, Stale
from stm_agent.annotate.people_tables import Llm
from stm_agent.annotate.secrets import Vault
from stm_agent.annotate.storable import NOWHERE, words
from stm_agent.llm.answer import TRIES
from stm_agent.llm.text import without_thoughts

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

QUESTION = "Say in one short sentence what you are."
ANSWER_TOKENS = 64


@dataclass(frozen=True)
class LlmChoice:
    """An LLM ready to be asked, so often where it is busy or away; ``repr`` does not show the key."""

    name: str
    model: str
    api_base: str | None
    system_prompt: str
    key: str | None = None
    tries: int = TRIES

    def __repr__(self) -> str:
        """Show all but the key."""
        return f"LlmChoice({self.name}, {self.model}, {self.api_base})"


class LlmView(TypedDict):
    """An LLM as JSON; annotators see its name and model, and whether it is the default one."""

    name: str
    model: str
    api_base: NotRequired[str | None]
    system_prompt: NotRequired[str]
    default: bool
    has_key: NotRequired[bool]
    version: NotRequired[int]


class LlmTrial(TypedDict):
    """What an LLM answered to a short question, and what that took."""

    model: str
    answer: str
    seconds: float
    prompt_tokens: int
    completion_tokens: int
    usd: float | None


def view(row: Llm) -> LlmView:
    """Return an LLM as JSON: whether there is a key, never the key."""
    return {
        "name": row.name,
        "model": row.model,
        "api_base": row.api_base,
        "system_prompt": row.system_prompt,
        "default": row.is_default,
        "has_key": row.key_encrypted is not None,
        "version": row.version,
    }


def listed(session: Session, actor: Actor) -> list[LlmView]:
    """Return all LLMs; of annotators the base URL is nobody's business."""
    rows = [view(row) for row in session.scalars(select(Llm).order_by(Llm.name))]
    if actor.role == "admin":
        return rows
    return [{"name": row["name"], "model": row["model"], "default": row["default"]} for row in rows]


def put(session: Session, actor: Actor, vault: Vault, values: Mapping[str, object]) -> Llm:
    """Set an LLM up, or change it; a key that is not given stays what it was.

    Raises:
        Forbidden: Not an administrator.
        Stale: It was changed since ``version``, or one of that name is there and ``version`` says that it is new.
        Invalid: No name or no model, or a base URL that is none, or a server or provider that would get the key of
            another one.
    """
    actor.needs("admin")
    name, model, base = _checked(values)
    row = session.scalar(select(Llm).where(Llm.name == name).with_for_update())
    if row is not None and values.get("version", 0) != row.version:
        raise Stale(f"LLM '{name}'", view(row))
    if row is None:
        row = Llm(name=name, version=0)
        session.add(row)
    elif row.key_encrypted and not values.get("key"):
        _check_same_receiver(row, model, base)
    row.model, row.api_base, row.system_prompt = model, base, str(values.get("system_prompt", ""))
    row.version += 1
    if values.get("key"):
        row.key_encrypted = vault.lock(str(values["key"]))
    session.flush()
    others = session.scalar(select(Llm.id).where(Llm.is_default, Llm.id != row.id))
    if values.get("default") or others is None:
        session.execute(update(Llm).values(is_default=Llm.id == row.id))
        session.refresh(row)
    return row


def _checked(values: Mapping[str, object]) -> tuple[str, str, str | None]:
    """Return name, model and base URL of an LLM."""
    name, model = str(values.get("name", "")).strip(), str(values.get("model", "")).strip()
    if not name or not model:
        raise Invalid("an LLM needs a name and a model, for example openai/gpt-5-mini")
    if name in NOWHERE:
        raise Invalid(f"the name '{name}' cannot be part of a URL; choose another one")
    base = str(values.get("api_base") or "")
    if base and not base.startswith(("http://", "https://")):
        raise Invalid(f"'{base}' is not a base URL; a base URL begins with http:// or https://")
    for part, most in (("name", 200), ("model", 300), ("api_base", 500), ("system_prompt", 100_000)):
        words(values.get(part) or "", f"an LLM's {part}", most)
    return name, model, base or None


def _check_same_receiver(row: Llm, model: str, base: str | None) -> None:
    if row.api_base != base:
        raise Invalid("the base URL has changed; enter the key again, since no stored key is sent to another server")
    if _other_provider(row.model, model):
        raise Invalid(
            "the model's provider has changed; enter the key again, since no stored key is sent to another provider"
        )


def _other_provider(before: str, after: str) -> bool:
    """Return whether two models may have different providers; a name without one says nothing of it."""
    if before == after:
        return False
    (first, named, _), (second, _, _) = before.partition("/"), after.partition("/")
    return first != second or not named


def remove(session: Session, actor: Actor, name: str) -> None:
    """Delete an LLM and its key; where it was the default, the first of the others is that now."""
    actor.needs("admin")
    row = session.scalar(select(Llm).where(Llm.name == name))
    if row is None:
        raise NotFound(f"there is no LLM '{name}'")
    session.delete(row)
    session.flush()
    if row.is_default and (other := session.scalar(select(Llm).order_by(Llm.name).limit(1))) is not None:
        other.is_default = True


def choose(session: Session, vault: Vault, name: str, *, tries: int = TRIES) -> LlmChoice:
    """Return an LLM by name, or the default one, to be asked so often.

    Raises:
        NotFound: There is none.
    """
    row = session.scalar(select(Llm).where(Llm.name == name if name else Llm.is_default))
    if row is None:
        raise NotFound(
            f"there is no LLM '{name}'"
            if name
            else "no LLM is set up; an administrator can set one up under 'People, LLMs'"
        )
    key = vault.unlock(row.key_encrypted) if row.key_encrypted else None
    return LlmChoice(row.name, row.model, row.api_base, row.system_prompt, key, tries)


def tried(door: LlmClient, choice: LlmChoice) -> LlmTrial:
    """Ask an LLM a short, uncached question; return its ``answer``, the ``seconds`` it took, tokens and ``usd``.

    Raises:
        GenerationError: It cannot be reached, refuses, or says nothing.
    """
    system = [{"role": "system", "content": choice.system_prompt}] if choice.system_prompt else []
    # A number nothing was asked by before: what the cache holds would tell nothing of the server.
    chat = [*system, {"role": "user", "content": QUESTION}]
    came = door.complete(chat, rollout=time.time_ns(), temperature=0.0, max_tokens=ANSWER_TOKENS)
    text = without_thoughts(came.text) or "(nothing but thoughts, cut off at the token limit)"
    return {
        "model": choice.model,
        "answer": text,
        "seconds": came.seconds,
        "prompt_tokens": came.prompt_tokens,
        "completion_tokens": came.completion_tokens,
        "usd": came.usd,
    }
