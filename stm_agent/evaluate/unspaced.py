"""Words of scripts that are written without spaces between them."""

from __future__ import annotations

from stm_agent.domain.letters import UNSPACED as UNSPACED
from stm_agent.domain.letters import bigrams as bigrams
