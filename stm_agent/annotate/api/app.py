"""The application: the versioned REST API, and the page on the same server."""

from __future__ import annotations

from fastapi import FastAPI

import stm_agent
from stm_agent.annotate.api import (
    account,
    batch,
    drafts,
    files,
    llms,
    making,
    matter,
    people,
    projects,
    splits,
    team,
    whole,
    work,
)
from stm_agent.annotate.api.access import Access
from stm_agent.annotate.api.addresses import EscapedSlashes
from stm_agent.annotate.api.common import API
from stm_agent.annotate.api.limits import limit_of
from stm_agent.annotate.api.parsing import BodyRoute
from stm_agent.annotate.api.problems import ANSWERS, tell_problems
from stm_agent.annotate.tool import Tool
from stm_agent.web.bodies import LimitedBodies

PREFIX = API


def build_app(tool: Tool) -> FastAPI:
    """Return the server of a tool; OpenAPI is at ``/api/v1/openapi.json``."""
    app = FastAPI(
        title="stm-agent annotate",
        version=stm_agent.__version__,
        openapi_url=f"{PREFIX}/openapi.json",
        # The browsable page loads its scripts from elsewhere; the schema does not.
        docs_url=None,
        redoc_url=None,
    )
    app.state.tool = tool
    tell_problems(app)
    app.router.route_class = BodyRoute
    app.add_middleware(LimitedBodies, limit_of=limit_of)
    # Those that are added last stand in front.
    app.add_middleware(Access)
    app.add_middleware(EscapedSlashes)
    for part in (people, account, llms, projects, splits, team, whole, making, work, drafts, matter, files, batch):
        app.include_router(part.router, prefix=PREFIX, responses=ANSWERS)
    return app
