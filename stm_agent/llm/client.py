"""Every LLM call of the engine: cached on disk, counted, limited, retried, and recorded."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path

from stm_agent.errors import AnswerRejected, GenerationError
from stm_agent.llm.answer import LEFT, NOT_ASKED, Answer, AnswersBySchema, Completion, Messages, Provider
from stm_agent.llm.budget import Budget, Spending
from stm_agent.llm.charging import Charges, cost_of
from stm_agent.llm.facts import ModelFacts
from stm_agent.llm.first_call import FirstCall
from stm_agent.llm.options import LlmOptions
from stm_agent.llm.store import AnswerStore, CallLedger, LlmRequest


class LlmClient:
    """The way to one model. The same request is never paid twice, over threads, processes and kills."""

    def __init__(
        self,
        options: LlmOptions,
        provider: Provider,
        *,
        cache: Path,
        ledger: Path,
        budget: Budget,
        facts: ModelFacts | None = None,
        asks: bool = True,
        counts_stored: bool = False,
    ) -> None:
        """Open a client; what a ledger already holds counts against the budget.

        Args:
            options: Model, sampling and prices.
            provider: Answers what the cache does not hold.
            cache: Folder of answers, shared by runs.
            ledger: JSONL file of the calls of one run.
            budget: Ceiling on all calls of the run.
            facts: Price, context and headroom of the model; None: nothing is known of it.
            asks: Whether the provider may be asked; else only answers of the cache are given, the rest is rejected.
            counts_stored: Whether an answer of the cache counts as a call that costs what it cost when it was paid
                for; only of use if ``ledger`` is for comparing models.
        """
        self.options, self.provider, self.budget = options, provider, budget
        self.facts = facts or ModelFacts(price=options.price)
        self._asks, self._counts_stored = asks, counts_stored
        self._first, self._weights = FirstCall(), options.weights
        self._store, self._ledger = AnswerStore(cache), CallLedger(ledger)
        self._charges = Charges(options, self.facts, budget, self._ledger)
        self._calls = threading.BoundedSemaphore(self.width)
        budget.resume(ledger)

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.options.model

    @property
    def identity(self) -> str:
        """Hash of what decides the answers beside the messages."""
        return self.options.identity

    @property
    def width(self) -> int:
        """Calls at a time: the user's number, else what suits the model."""
        return self.options.width or self.facts.width

    @property
    def threads(self) -> int:
        """Threads to ask with: twice the calls at a time, so that answers are stored while others are awaited."""
        return self.width if self.width == 1 else 2 * self.width

    @property
    def takes_schema(self) -> bool:
        """Whether the model keeps a JSON schema that is sent with a request."""
        return self.facts.schema and isinstance(self.provider, AnswersBySchema)

    @property
    def room(self) -> int | None:
        """Tokens that a prompt may have so that its answer fits the context; None if the context is unknown."""
        if self.facts.context is None:
            return None
        return max(self.facts.context - self.options.max_tokens - self.facts.headroom, self.facts.context // 2)

    def complete(
        self,
        messages: Messages,
        *,
        rollout: int = 0,
        temperature: float | None = None,
        max_tokens: int | None = None,
        again: bool = False,
        schema: Mapping[str, object] | None = None,
    ) -> Completion:
        """Answer a chat, from the cache if it was answered before.

        Threads that ask for the same at the same time pay once. At most :attr:`width` calls wait for the provider at a
        time, however many threads there are.

        Args:
            messages: OpenAI-style chat.
            rollout: Number of the sample: another number is another request, the same number the same answer.
            temperature: Overrides the client's.
            max_tokens: Overrides the client's.
            again: Pay again for a request whose answer was rejected earlier in this run.
            schema: What the answer must be like, as OpenAI's ``response_format``; only if :attr:`takes_schema`.

        Raises:
            BudgetExceeded: A ceiling is reached, or this call could pass it.
            AnswerRejected: The provider refuses this chat, or nothing of the answer can be used; that is recorded and
                never cached.
            GenerationError: The provider cannot be reached or used.
        """
        request = replace(self._request(messages, rollout, temperature, max_tokens), schema=schema)
        with self._store.hold(request):
            if (stored := self._find(request)) is not None:
                return stored
            self._require_askable(request, again)
            with self.budget.reserve(self._charges.highest(request), waits=True):
                began = time.monotonic()
                try:
                    with self._first.ahead(), self._calls:
                        began = time.monotonic()
                        answer = self._ask(request)
                except GenerationError as error:
                    self._charges.add_failure(request, error, "", time.monotonic() - began)
                    raise
                return self._accept(request, answer, time.monotonic() - began)

    def stream(
        self,
        messages: Messages,
        *,
        rollout: int = 0,
        temperature: float | None = None,
        max_tokens: int | None = None,
        again: bool = False,
    ) -> Generator[str, None, Completion]:
        """Answer a chat piece by piece, from the cache (in one piece) if it was answered before.

        A reader that stops early, or a connection that breaks, leaves nothing in the cache; what was written until then
        is counted by an estimate. Arguments and errors are those of :meth:`complete`, but streams of one request at the
        same time each pay.
        """
        request = self._request(messages, rollout, temperature, max_tokens)
        if (stored := self._find(request)) is not None:
            yield stored.text
            return stored
        self._require_askable(request, again)
        with self.budget.reserve(self._charges.highest(request)):
            began, text = time.monotonic(), ""
            pieces = self.provider.stream(
                request.chat, temperature=request.temperature, max_tokens=request.max_tokens, seed=request.seed
            )
            try:
                while True:
                    piece = next(pieces)
                    text += piece
                    yield piece
            except StopIteration as end:
                answer: Answer = end.value
            except GenerationError as error:
                self._charges.add_failure(request, error, text, time.monotonic() - began)
                raise
            except GeneratorExit:
                pieces.close()
                self._charges.add_partial(request, text, LEFT, time.monotonic() - began)
                raise
            return self._accept(request, answer, time.monotonic() - began)

    def _ask(self, request: LlmRequest) -> Answer:
        temperature, max_tokens, seed, schema = request.temperature, request.max_tokens, request.seed, request.schema
        if schema is None or not isinstance(self.provider, AnswersBySchema):
            return self.provider.answer(request.chat, temperature=temperature, max_tokens=max_tokens, seed=seed)
        return self.provider.answer_by_schema(
            request.chat, temperature=temperature, max_tokens=max_tokens, seed=seed, schema=schema
        )

    def _request(
        self, messages: Messages, rollout: int, temperature: float | None, max_tokens: int | None
    ) -> LlmRequest:
        return LlmRequest(
            model=self._weights,
            api_base=self.options.api_base,
            chat=tuple(dict(message) for message in messages),
            temperature=self.options.temperature if temperature is None else temperature,
            max_tokens=max_tokens or self.options.max_tokens,
            rollout=rollout,
        )

    def _find(self, request: LlmRequest) -> Completion | None:
        """Return the stored answer; None if there is none.

        Raises:
            BudgetExceeded: Stored answers count, and this one would pass a ceiling.
            AnswerRejected: Stored answers count, and this one was not counted before asking was given up.
        """
        if (stored := self._store.find(request)) is None:
            return None
        if self._counts_stored and not self._ledger.holds(request):
            self._require_asking()
            self._charges.add_stored(request, stored.paid)
        return self._completion(request, stored.answer, stored.paid, cached=True)

    def _require_askable(self, request: LlmRequest, again: bool) -> None:
        reason = None if again else self._ledger.rejection(request)
        if reason:
            raise AnswerRejected(f"{self.model}: this request was rejected before ({reason}); not paid again", reason)
        self._require_asking()

    def _require_asking(self) -> None:
        if not self._asks:
            raise AnswerRejected(f"{self.model} is not asked any more in this run", NOT_ASKED)

    def _accept(self, request: LlmRequest, answer: Answer, seconds: float) -> Completion:
        answer = self._charges.priced(answer)
        reason = answer.fault
        if reason is None:
            # The answer is stored before it is counted: a kill in between cannot make it be paid again.
            self._store.write(request, answer, seconds)
        self._charges.add(request, answer, seconds, rejected=reason)
        if reason is not None:
            raise answer.rejection(self.model, reason, request.max_tokens + self.facts.headroom)
        return self._completion(request, answer, cost_of(answer, seconds))

    def _completion(self, request: LlmRequest, answer: Answer, paid: Spending, *, cached: bool = False) -> Completion:
        return Completion(
            text=answer.text,
            messages=request.chat,
            model=self.model,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            usd=answer.usd or 0.0,
            seconds=0.0 if cached else paid.seconds,
            cached=cached,
            request_hash=request.key,
            finish_reason=answer.finish_reason,
            reasoning=answer.reasoning,
            tries=answer.tries,
            paid=paid,
        )

    def close(self) -> None:
        """Free the provider."""
        self.provider.close()
