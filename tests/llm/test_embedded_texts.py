"""A text of the embedded LLM depends on its request alone: not on neighbours, and not on what was read before."""

from __future__ import annotations

from contextlib import closing

import pytest

from stm_agent.assets.pull import asset_path
from stm_agent.llm.embedded import EmbeddedProvider
from stm_agent.llm.parallel import in_parallel

MODEL = "embedded:smollm2-135m"
SYSTEM = "Write the short query that somebody who needs the passage would type."
PASSAGES = ("Gout is a painful disease of the joints.", "A sore throat in a small child, with fever.", "Iron.")


def texts(*, slots: int, order: int) -> dict[tuple[str, int], str]:
    requests = [(passage, seed) for passage in PASSAGES for seed in (1, 2)][::order]
    with closing(EmbeddedProvider(MODEL, slots=slots)) as provider:

        def ask(request: tuple[str, int]) -> str:
            chat = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": request[0]}]
            return provider.answer(chat, temperature=0.8, max_tokens=8, seed=request[1]).text

        return dict(zip(requests, in_parallel(ask, requests, width=2 * slots), strict=True))


@pytest.mark.skipif(asset_path("smollm2-135m") is None, reason="the embedded decoder is not installed")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_texts_are_the_same_alone_and_in_company_in_any_order_after_a_restart() -> None:
    assert texts(slots=1, order=1) == texts(slots=3, order=-1)
