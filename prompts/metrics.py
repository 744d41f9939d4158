"""Counts model calls for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

CALLS = Counter(
    "songs_ai_model_calls", "Calls to language models, by how they ended.", ["purpose", "outcome"]
)
SECONDS = Histogram(
    "songs_ai_model_call_duration_seconds",
    "How long a language model took.",
    ["purpose"],
    buckets=(0.1, 0.25, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 5, 10, 20, 60, 300, 900),
)
TOKENS = Counter("songs_ai_model_tokens", "Tokens sent and received.", ["purpose", "direction"])
COST = Counter("songs_ai_model_cost_micro_usd", "Cost in millionths of a dollar.", ["purpose"])
