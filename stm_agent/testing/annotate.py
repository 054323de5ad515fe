"""A small annotation project with people in it, for tests of the tool and of everything built on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import update
from sqlalchemy.orm import Session as DbSession

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.base import now
from stm_agent.annotate.people_tables import Session
from stm_agent.annotate.services import assigning, documents, llms, people, projects, queries
from stm_agent.annotate.tables import Project
from stm_agent.annotate.tool import Tool
from stm_agent.llm.scripted import Script, scripted

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

PATIENCE = 30
"""Seconds: a busy machine of two cores is slow, not wrong."""
DOCUMENTS: list[tuple[str, dict[str, object]]] = [
    ("d1", {"title": "Fever", "text": "A raised body temperature, often a sign of infection.", "year": 2001}),
    ("d2", {"title": "Cough", "text": "A sudden expulsion of air from the lungs.", "year": 1999}),
    (
        "d3",
        {"title": "Rash", "text": "A change of the skin's colour; fever may come with it.", "year": 2010},
    ),
]


def person(tool: Tool, name: str, role: str = "annotator") -> Actor:
    """Add a person with the password ``password-of-NAME``."""
    with tool.database.writing() as session:
        return people.actor_of(people.add(session, name=name, role=role, password=f"password-of-{name}"))


def client(tool: Tool, name: str) -> TestClient:
    """Return a client that is logged in as a person."""
    from fastapi.testclient import TestClient

    from stm_agent.annotate.api.app import PREFIX, build_app

    test_client = TestClient(build_app(tool), base_url="http://testserver" + PREFIX)
    login = test_client.post("/login", json={"name": name, "password": f"password-of-{name}"}).json()
    test_client.headers["authorization"] = f"Bearer {login['access_token']}"
    return test_client


def page_client(tool: Tool, name: str, address: str = "http://testserver") -> TestClient:
    """Return a client that is logged in by cookies, and proves its requests, as the tool's own page does."""
    from fastapi.testclient import TestClient

    from stm_agent.annotate.api.app import build_app
    from stm_agent.annotate.pages.mount import mount_pages

    app = build_app(tool)
    mount_pages(app)
    page = TestClient(app, base_url=address, headers={"origin": address})
    login = page.post("/session", json={"name": name, "password": f"password-of-{name}"})
    login.raise_for_status()
    page.headers["x-csrf-token"] = page.get("/session").json()["csrf"]
    return page


def fill(tool: Tool, template: str = "judging") -> str:
    """Create project ``signs`` with administrator Ada and annotators Bo and Cy; return its key."""
    ada = person(tool, "Ada", "admin")
    for name in ("Bo", "Cy"):
        person(tool, name)
    with tool.database.writing() as session:
        made = projects.create(session, ada, name="Signs", template=template, key="signs", tags=["clinic"])
        documents.add(session, made, DOCUMENTS)
        for name in ("Bo", "Cy"):
            assigning.add_member(session, ada, made, name)
        for number, text in enumerate(("high temperature", "skin is red"), 1):
            queries.create(session, ada, made, text=text, key=f"q{number}", split="dev")
    return "signs"


@contextmanager
def own_project(
    tool: Tool,
    rows: Iterable[tuple[str, dict[str, object]]] = DOCUMENTS,
    *,
    name: str = "Signs",
    template: str = "qa",
) -> Iterator[tuple[DbSession, Actor, Project]]:
    """Create a project of a tool's only user, with its name in lower case as key; it is stored when the block ends."""
    with tool.database.writing() as session:
        me = people.actor_of(people.local_person(session))
        made = projects.create(session, me, name=name, template=template, key=name.lower())
        documents.add(session, made, rows)
        yield session, me, made


def lend_llm(tool: Tool, answer: Script) -> None:
    """Set up an LLM with scripted answers for a tool's only user."""
    door = scripted(answer, tool.folder)
    tool.doors.door = lambda choice: door  # type: ignore[method-assign]
    with tool.database.writing() as session:
        me = people.actor_of(people.local_person(session))
        llms.put(session, me, tool.vault, {"name": "script", "model": "scripted:numbered"})


def ended(who: TestClient, job: dict[str, object], project: str = "signs") -> dict[str, object]:
    """Wait for a job to end and return it.

    Raises:
        TimeoutError: It did not end within half a minute.
    """
    end = time.monotonic() + PATIENCE
    while job["state"] == "running":
        if time.monotonic() > end:
            raise TimeoutError(f"the job has not ended: {job}")
        time.sleep(0.01)
        job = who.get(f"/projects/{project}/jobs/{job['key']}").json()
    return job


def until(read: Callable[[], object], expected: object) -> None:
    """Wait until ``read`` returns the expected value.

    Raises:
        TimeoutError: It does not within half a minute.
    """
    end = time.monotonic() + PATIENCE
    while (value := read()) != expected:
        if time.monotonic() > end:
            raise TimeoutError(f"the value is still {value}, not {expected}")
        time.sleep(0.1)


def end_logins(tool: Tool) -> None:
    """Expire every login and its refresh token."""
    over = now() - timedelta(1)
    with tool.database.writing() as session:
        session.execute(update(Session).values(expires_at=over, refresh_expires_at=over))
