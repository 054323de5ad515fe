"""Log in, out and on; invitations; who is there."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from typing_extensions import TypedDict

from stm_agent.annotate.api.common import Body, The, Who, token_of
from stm_agent.annotate.api.parsing import BodyRoute
from stm_agent.annotate.faults import Forbidden, TooMany, Unauthorised
from stm_agent.annotate.people_tables import Person, PersonView, SessionTokens
from stm_agent.annotate.services import inviting, people, projects
from stm_agent.annotate.storable import LARGEST
from stm_agent.annotate.tool import Tool

router = APIRouter(tags=["people"], route_class=BodyRoute)


class Login(Body):
    """A name and a password."""

    name: str
    password: str


class Refresh(Body):
    """A refresh token."""

    refresh_token: str


class Join(Body):
    """Whom an invitation's link makes."""

    token: str
    name: str
    password: str


class Invite(Body):
    """Who is invited, and to which project."""

    role: str = "annotator"
    project: str | None = None


class NewPassword(Body):
    """The password that was, and the one to be."""

    old: str
    new: str


class Change(Body):
    """What changes of a person, and the version that was seen."""

    version: int
    role: str | None = None
    active: bool | None = None


class Me(TypedDict):
    """Who asks, and whether they work alone."""

    name: str
    role: str
    alone: bool


@router.post("/login")
def login(body: Login, tool: The, request: Request) -> SessionTokens:
    """Return an access token (an hour) and a refresh token (two weeks)."""
    person = _right_person(tool, request, body.name, body.password)
    if person is None:
        raise Unauthorised("wrong name or password")
    with tool.database.writing() as session:
        return people.begin(session, person)


def _right_person(tool: Tool, request: Request, name: str, password: str) -> Person | None:
    """Return the person of a name and password; who gives too many wrong ones has to wait.

    Raises:
        TooMany: There were too many.
    """
    # Counted by name and by address, so that neither one account nor all of them can be tried.
    address = request.client.host if request.client else ""
    keys = {f"name:{name.strip()}": people.TRIES, f"address:{address}": people.CROWD}
    with tool.database.writing() as session:
        tries = people.note_try(session, *keys)
    try:
        with tool.database.reading() as session:
            people.check_rate(session, keys)
    except TooMany:
        with tool.database.writing() as session:
            people.forget_try(session, tries)
        raise
    # A password takes long to check, on purpose; nobody who saves waits for it.
    with tool.database.reading() as session:
        person = people.right_person(session, name=name, password=password)
    if person is not None:
        with tool.database.writing() as session:
            people.forget_try(session, tries)
    return person


@router.post("/refresh")
def refresh(body: Refresh, tool: The) -> SessionTokens:
    """Return new tokens; the old refresh token works no more."""
    with tool.database.writing() as session:
        return people.refresh(session, body.refresh_token)


@router.post("/logout", status_code=204)
def logout(tool: The, request: Request) -> None:
    """End this login."""
    with tool.database.writing() as session:
        people.end(session, token_of(request))


@router.post("/join")
def join(body: Join, tool: The) -> SessionTokens:
    """Make the account of somebody invited, and log in."""
    with tool.database.reading() as session:
        # Nobody without a link has a password hashed.
        inviting.invited(session, body.token)
    stored = people.hashed(body.password)
    with tool.database.writing() as session:
        return people.begin(session, inviting.join(session, token=body.token, name=body.name, stored=stored))


@router.post("/invitations")
def invite(body: Invite, tool: The, who: Who) -> dict[str, str]:
    """Return the token of an invitation, once."""
    with tool.database.writing() as session:
        project = projects.find(session, who, body.project) if body.project else None
        return {"token": inviting.invite(session, who, role=body.role, project=project)}


@router.get("/invitations")
def invitations(tool: The, who: Who) -> list[inviting.InvitationView]:
    """Return the invitations that are open."""
    with tool.database.reading() as session:
        return inviting.invitations(session, who)


@router.delete("/invitations/{number}", status_code=204)
def revoke(number: Annotated[int, Path(ge=1, le=LARGEST)], tool: The, who: Who) -> None:
    """Take an invitation back."""
    with tool.database.writing() as session:
        inviting.revoke(session, who, number)


@router.get("/me")
def me(tool: The, who: Who) -> Me:
    """Return who asks, and whether they work alone, without a login."""
    return {"name": who.name, "role": who.role, "alone": tool.token is not None}


@router.put("/me/password", status_code=204)
def change_password(body: NewPassword, tool: The, who: Who, request: Request) -> None:
    """Change one's own password; all other logins end."""
    person = _right_person(tool, request, who.name, body.old)
    if person is None:
        raise Forbidden("the old password is wrong")
    stored = people.hashed(body.new)
    with tool.database.writing() as session:
        people.change_password(session, person, stored=stored, token=token_of(request))


@router.get("/people")
def listed(tool: The, who: Who) -> list[PersonView]:
    """Return everybody."""
    with tool.database.reading() as session:
        return people.listed(session, who)


@router.patch("/people/{name:key}")
def change(name: str, body: Change, tool: The, who: Who) -> PersonView:
    """Change a role, or shut somebody out."""
    with tool.database.writing() as session:
        row = people.change(session, who, name, version=body.version, role=body.role, active=body.active)
        return people.view(row)
