"""Which LLM is asked, and how: one value for commands, domain files and jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stm_agent.assets.decoder import decoder_identity, is_local
from stm_agent.errors import ConfigError
from stm_agent.files import content_hash

DEFAULT_GENERATOR = "embedded:smollm2-135m"
"""The generator of every command that names none: it runs on this machine and costs nothing."""

JUDGEMENT_TOKENS = 64
"""Ceiling of a judgement: a grade and a short reason."""

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class LlmOptions(BaseModel):
    """What decides which LLM answers, how it samples, and what it costs.

    Attributes:
        model: ``embedded:NAME``, the path of a GGUF file, or a name that LiteLLM knows, for example
            ``openai/gpt-5-mini``.
        api_base: Address of an OpenAI-compatible server; None: the provider's own.
        temperature: Sampling temperature.
        max_tokens: Ceiling of one answer, in tokens; the thoughts of a reasoning model do not count.
        price_in: US dollars per million prompt tokens; None: LiteLLM's price.
        price_out: US dollars per million answer tokens; None: LiteLLM's price.
        width: Calls at a time; None: what suits the model. It decides no answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(default=DEFAULT_GENERATOR, min_length=1)
    api_base: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.8
    max_tokens: Annotated[int, Field(gt=0)] = 256
    price_in: Price | None = None
    price_out: Price | None = None
    width: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _both_prices(self) -> LlmOptions:
        if (self.price_in is None) != (self.price_out is None):
            raise ConfigError("--price-in and --price-out go together; give both, in USD per million tokens")
        return self

    @property
    def price(self) -> tuple[float, float] | None:
        """US dollars for one prompt token and one answer token, as the user gave them."""
        if self.price_in is None or self.price_out is None:
            return None
        return self.price_in / 1e6, self.price_out / 1e6

    @property
    def weights(self) -> str:
        """What identifies the model: its name, or the hash of a GGUF file.

        Raises:
            ConfigError: The GGUF file does not exist.
        """
        return decoder_identity(self.model) if is_local(self.model) else self.model

    def is_model(self, name: str) -> bool:
        """Return whether a name means this model: it is the same name, or a file with the same weights."""
        if name == self.model:
            return True
        try:
            return is_local(name) and is_local(self.model) and decoder_identity(name) == self.weights
        except ConfigError:
            # A file that is gone has no weights to compare.
            return False

    def as_judge(self, model: str) -> LlmOptions:
        """Return the options of an LLM that judges.

        A model of another provider is asked at that provider's own address, and another model costs its own price.
        """
        changes: dict[str, object] = {"model": model, "temperature": 0.0, "max_tokens": JUDGEMENT_TOKENS}
        if model != self.model:
            changes |= {"price_in": None, "price_out": None}
        if model.partition("/")[0] != self.model.partition("/")[0]:
            changes["api_base"] = None
        return self.model_copy(update=changes)

    @property
    def identity(self) -> str:
        """Hash of what decides answers beside the messages; prices and width do not count."""
        # The same name at another server is another model.
        server = [self.api_base] if self.api_base else []
        return content_hash([self.weights, self.temperature, self.max_tokens, *server])


def read_options(values: Mapping[str, object]) -> LlmOptions:
    """Return checked options.

    Raises:
        ConfigError: A key is unknown or a value cannot be used.
    """
    try:
        return LlmOptions.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "options"
        raise ConfigError(f"LLM {where}: {first['msg']}") from error
