"""Sets the language model: server, deadlines, prices, budgets, prompts."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from .base import TESTING, env

OPENAI_API_KEY = env.text("OPENAI_API_KEY", help="Switches the language model on.", secret=True)
OPENAI_BASE_URL = env.url(
    "OPENAI_BASE_URL",
    schemes=("http", "https"),
    help="A compatible server (vLLM, Ollama, llama.cpp). Unset: OpenAI.",
    secret=False,
)
OPENAI_MODEL = env.text("OPENAI_MODEL", "gpt-5.4-mini", help="Name of the model.")
LLM_DEADLINE_S = env.number(
    "LLM_DEADLINE_S",
    3.4,
    least=0.1,
    most=60,
    help="Absolute deadline of the model for strategy `default`.",
)
LLM_DEADLINE_DEEP_S = env.number(
    "LLM_DEADLINE_DEEP_S",
    15,
    least=0.1,
    most=120,
    help="The same for strategy `deep` and for what schedules ask.",
)
LLM_ENABLED = bool(OPENAI_API_KEY or OPENAI_BASE_URL)
OPENAI_API = env.text(
    "OPENAI_API",
    help="Call style: responses or chat. Unset: responses for OpenAI, chat for a compatible server.",
)
if OPENAI_API not in {"", "responses", "chat"}:
    raise ImproperlyConfigured(f"OPENAI_API={OPENAI_API!r}: use responses or chat.")
LLM_HOSTS = env.words(
    "LLM_HOSTS",
    help="Further hosts that model profiles may name, beside OpenAI and OPENAI_BASE_URL.",
)
LLM_CONCURRENCY = env.integer(
    "LLM_CONCURRENCY", 16, least=1, most=1000, help="Model calls under way at once, all processes."
)
LLM_HEDGE = env.flag(
    "LLM_HEDGE", False, help="Ask a second time when an interactive call is slower than usual."
)
LLM_PRICE_INPUT_USD = env.number(
    "LLM_PRICE_INPUT_USD", 0.75, help="Dollars per million input tokens where no price is entered."
)
LLM_PRICE_OUTPUT_USD = env.number(
    "LLM_PRICE_OUTPUT_USD", 4.5, help="Dollars per million output tokens where no price is entered."
)
LLM_BUDGET_DAY_USD = env.number(
    "LLM_BUDGET_DAY_USD", 10, help="Most that models may cost a day (the admin's budget overrides)."
)
LLM_BUDGET_MONTH_USD = env.number("LLM_BUDGET_MONTH_USD", 200, help="The same for a month.")
LLM_BUDGET_MEMBER_DAY_USD = env.number(
    "LLM_BUDGET_MEMBER_DAY_USD", 0.2, help="The same for one member and day."
)
LLM_TEXT_DAYS = env.integer(
    "LLM_TEXT_DAYS", 30, help="Days that the texts of model calls are kept."
)
LLM_CALL_DAYS = env.integer(
    "LLM_CALL_DAYS", 400, least=32, help="Days that the rows of model calls are kept."
)
PROMPTS_REQUIRE_REVIEW = env.flag(
    "PROMPTS_REQUIRE_REVIEW",
    False,
    help="A prompt version goes live only after a second person approved it.",
)
PROMPTS_POLL_S = env.number(
    "PROMPTS_POLL_S",
    0 if TESTING else 0.5,
    most=30,
    help="How often a process looks whether staff published something. 0: at every use (tests).",
)
