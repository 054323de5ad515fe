"""The splits of a project's queries."""

from __future__ import annotations

from fastapi import APIRouter

from stm_agent.annotate.api.common import Body, The, Who
from stm_agent.annotate.api.parsing import BodyRoute
from stm_agent.annotate.services import judging, projects, splitting
from stm_agent.annotate.splits import read_shares

router = APIRouter(prefix="/projects/{project}/splits", tags=["splits"], route_class=BodyRoute)


class Shares(Body):
    """Shares of train, dev and test in per cent, which add up to 100, and the seed."""

    train: int
    dev: int
    test: int
    seed: int = 0


class Change(Body):
    """New shares, and the version of the project that was seen."""

    version: int
    shares: Shares


@router.get("")
def overview(project: str, tool: The, who: Who) -> splitting.SplitOverview:
    """Return the shares and how many queries each split has, for reviewers and administrators."""
    who.needs("reviewer")
    with tool.database.reading() as session:
        row = projects.find(session, who, project)
        judging.check_sighted(session, who, row)
        return splitting.overview(session, row)


@router.post("/plan")
def plan(project: str, body: Shares, tool: The, who: Who) -> splitting.SplitPlan:
    """Return which queries other shares would move; nothing is changed."""
    shares = read_shares(body.model_dump())
    with tool.database.reading() as session:
        return splitting.plan(session, who, projects.find(session, who, project), shares)


@router.put("")
def deal_anew(project: str, body: Change, tool: The, who: Who) -> splitting.DealtSplits:
    """Change the shares and move the queries accordingly."""
    shares = read_shares(body.shares.model_dump())
    with tool.database.writing() as session:
        row = projects.find(session, who, project)
        return splitting.deal_anew(session, who, row, shares, version=body.version)
