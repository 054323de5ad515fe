"""Requests and answers of the server, in the shape of OpenAI's API."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypedDict

from pydantic import BaseModel, ConfigDict, Field, StrictStr, model_validator
from pydantic_core import PydanticCustomError

from stm_agent.deploy.batching import Encoded
from stm_agent.deploy.served import InputType, ServedModel

TEXTS = 2048
"""Largest number of texts of a request; OpenAI's own limit."""
LETTERS = 200_000
"""Largest number of characters of a text; no embedding model reads as many."""
BODY = 8_000_000
"""Largest number of bytes of a request."""
SIDES: Mapping[str, InputType] = {
    "query": "query",
    "search_query": "query",
    "passage": "passage",
    "document": "passage",
    "search_document": "passage",
}
"""Values of ``input_type``, by NVIDIA, Voyage and Cohere."""
SUFFIXES: Mapping[str, InputType] = {"-query": "query", "-passage": "passage"}
"""Ends of a model's name that state the input type, for clients that cannot send ``input_type``."""


class Body(BaseModel):
    """A request's body; unknown fields are refused.

    One error is made, however many fields or texts are wrong: a body of 8 MB has room for a million of them.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    @model_validator(mode="after")
    def _refuse_unknown_fields(self) -> Self:
        if self.model_extra:
            name = next(iter(self.model_extra))
            raise PydanticCustomError("unknown_field", "'{name}' is not a field of this request", {"name": name[:100]})
        return self


class EmbeddingsRequest(Body):
    """Body of ``POST /v1/embeddings``."""

    model: str
    # A list's items are checked one by one in texts_of, which stops at the first that is wrong.
    input: Annotated[Annotated[list[object], Field(max_length=TEXTS)] | StrictStr, Field(union_mode="left_to_right")]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    input_type: str | None = None
    user: str | None = None


class SearchRequest(Body):
    """Body of ``POST /v1/search``."""

    query: Annotated[str, Field(min_length=1, max_length=LETTERS)]
    top: Annotated[int, Field(ge=1, le=100)] = 10
    mode: Literal["dense", "bm25", "fused"] = "dense"
    model: str | None = None


class JudgementRequest(Body):
    """Body of ``POST /v1/judgements``: a thumb up (true), down (false), or taken back (null)."""

    query: Annotated[str, Field(min_length=1, max_length=LETTERS)]
    document: str
    relevant: bool | None
    seen_in: Annotated[str, Field(max_length=200)] = ""


class FoundPassage(TypedDict):
    """A passage in an answer to ``POST /v1/search``; ``relevant`` is the thumb that it has for this query."""

    rank: int
    document: str
    score: float
    text: str
    relevant: bool | None


class SearchAnswer(TypedDict):
    """Answer to ``POST /v1/search``."""

    model: str
    mode: str
    hits: list[FoundPassage]
    seconds: float


class Refused(Exception):
    """A request that the server does not fulfil.

    Attributes:
        status: HTTP status.
        message: What is wrong, and the fix.
        param: Field of the request that is wrong.
        code: Kind of the error, for programs.
        headers: Headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str = "invalid_value",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Take what the answer says."""
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})


def error_body(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, object]:
    """Return an error in OpenAI's shape."""
    kind = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}.get(status)
    kind = kind or ("invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def texts_of(request: EmbeddingsRequest) -> list[str]:
    """Return the texts of a request.

    Raises:
        Refused: There is none, one is empty or too long, or one is a token number.
    """
    texts = [request.input] if isinstance(request.input, str) else request.input
    if not texts:
        raise Refused(400, "input is an empty list; send at least one text", param="input")
    checked: list[str] = []
    for number, text in enumerate(texts):
        if not isinstance(text, str | int | list) or isinstance(text, bool):
            raise Refused(400, f"input {number} is not a text; send a text or a list of texts", param="input")
        if not isinstance(text, str):
            raise Refused(
                400,
                "input holds token numbers, which belong to another tokenizer; send text "
                "(LangChain: check_embedding_ctx_length=False)",
                param="input",
            )
        if not text.strip():
            raise Refused(400, f"input {number} is empty; leave it out", param="input")
        if len(text) > LETTERS:
            reason = f"input {number} has {len(text)} characters, {LETTERS} are allowed; cut it into passages"
            raise Refused(400, reason, param="input")
        checked.append(text)
    return checked


def side_of(
    request: EmbeddingsRequest, suffix: InputType | None, model: ServedModel, default: InputType | None
) -> InputType:
    """Return whether the texts of a request are queries or passages.

    Args:
        request: The request.
        suffix: What the suffix of the model's name states.
        model: The model asked for.
        default: What texts are if the request does not state it; None: it must, unless the model encodes both alike.

    Raises:
        Refused: ``input_type`` is missing, unknown, or contradicts the suffix of the model's name.
    """
    if request.input_type is None:
        side = suffix or default
        if side is None and model.asymmetric:
            reason = f"say which texts these are: input_type query or passage, or model {model.name}-query"
            raise Refused(400, reason, param="input_type")
        return side or "passage"
    side = SIDES.get(request.input_type)
    if side is None:
        raise Refused(400, f"input_type '{request.input_type}' is unknown; use query or passage", param="input_type")
    if suffix is not None and suffix != side:
        reason = f"input_type is {side}, but the name {model.name}-{suffix} asks for {suffix}; leave one out"
        raise Refused(400, reason, param="input_type")
    return side


def check_dimensions(request: EmbeddingsRequest, model: ServedModel) -> None:
    """Require a length of vectors that the model was trained for.

    Raises:
        Refused: Vectors of that length would rank badly.
    """
    if request.dimensions is not None and request.dimensions not in model.dimensions:
        known = ", ".join(map(str, model.dimensions))
        raise Refused(
            400, f"dimensions {request.dimensions} is not what {model.name} was trained for; it has {known}",
            param="dimensions",
        )  # fmt: skip


def embeddings_body(request: EmbeddingsRequest, model: str, encoded: Encoded) -> bytes:
    """Return the answer to a request as JSON, its vectors cut to the asked length and normalised again."""
    import numpy as np
    from pydantic_core import to_json

    vectors = encoded.vectors
    if request.dimensions is not None and request.dimensions < vectors.shape[1]:
        vectors = vectors[:, : request.dimensions]
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    if request.encoding_format == "base64":
        # Little-endian float32, as OpenAI sends it.
        values: list[object] = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors]
    else:
        values = vectors.tolist()
    rows = [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(values)]
    usage = {"prompt_tokens": encoded.tokens, "total_tokens": encoded.tokens}
    return to_json({"object": "list", "data": rows, "model": model, "usage": usage})
