"""Names the recipes: what happens to a request, in the order it happens."""

from __future__ import annotations

from engine.ranking.boosts import (
    lean_to_adventure,
    lean_to_preferences,
    rest_what_was_shown,
    score,
)
from engine.ranking.diversity import keep_pool, vary
from engine.ranking.draft import Step
from engine.ranking.exploration import explore
from engine.ranking.filters import (
    only_what_was_asked,
    without_known_songs,
    without_what_was_refused,
)
from engine.types import Strategy

DEFAULT: tuple[Step, ...] = (
    only_what_was_asked,
    without_known_songs,
    without_what_was_refused,
    score,
    lean_to_adventure,
    lean_to_preferences,
    rest_what_was_shown,
    keep_pool,
    vary,
    explore,
)
#: The engine's own part is the same: what FAST saves is the language model.
FAST = DEFAULT
#: A longer shortlist (`Draft.length`) for a model that takes its time.
DEEP = DEFAULT

#: Songs like given ones, without a member's taste or history.
SIMILAR: tuple[Step, ...] = (
    only_what_was_asked,
    without_known_songs,
    score,
    keep_pool,
    vary,
)

RECIPES: dict[Strategy, tuple[Step, ...]] = {
    Strategy.FAST: FAST,
    Strategy.DEFAULT: DEFAULT,
    Strategy.DEEP: DEEP,
}
