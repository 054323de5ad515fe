"""What people write in ten lines: FastAPI and ``SentenceTransformer.encode``. benchmarks/deploy.py compares with it.

python benchmarks/_plain_server.py MODEL PORT
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(sys.argv[1], device="cpu")
app = FastAPI()


class Request(BaseModel):
    """Body of a request."""

    input: list[str]
    model: str = ""


@app.post("/v1/embeddings")
def embeddings(request: Request) -> dict[str, object]:
    """Encode in the thread pool, one call of ``encode`` a request."""
    vectors = model.encode(request.input, normalize_embeddings=True, show_progress_bar=False)
    rows = [{"object": "embedding", "index": index, "embedding": row.tolist()} for index, row in enumerate(vectors)]
    return {"object": "list", "data": rows, "model": request.model, "usage": {"prompt_tokens": 0, "total_tokens": 0}}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
