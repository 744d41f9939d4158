"""Decides which songs a member may be shown, and in what order: one small step at a time.

A step takes a `Draft` and returns the next one. Rules work on masks over all songs; once
`keep_pool` has run, `draft.rows` is the list itself, best first. Every step that may leave nothing
says in its note what it did then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.catalog.catalog import Catalog, Mask
from engine.catalog.text import term_key
from engine.scoring.blend import blend
from engine.scoring.scorers import Floats, Rows
from engine.scoring.taste import Taste
from engine.settings import EngineSettings
from engine.training.model import Model
from engine.types import Preference, Query, Strategy

#: Caps and exploration are counted per so many songs: one screen of quick picks.
WINDOW = 20
#: Places that are ordered for variety, whatever the count asked for.
_ORDERED = 40
#: Likes that an artist's share is weighed against, so that two likes do not make a loyal fan.
_LOYALTY_PRIOR = 5.0
#: Features that a song's content is weighed against: with so many its likeness counts half.
_CONTENT_PRIOR = 4.0
#: Genres and moods with less than this share of the likes are not worth a place of their own.
_LEAST_SHARE = 0.03
#: A song played or sung this shortly before it was last shown, or after, was not ignored.
_TAKEN_UP_WITHIN = timedelta(days=1)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

Step = Callable[["Draft"], "Draft"]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A recommendation in the making."""

    query: Query
    catalog: Catalog
    model: Model
    settings: EngineSettings
    taste: Taste
    alive: Mask  #: (n,) songs no rule has removed
    scores: Floats  #: (n,) blended, in standard deviations; zeros before `score`
    parts: dict[str, Floats] = field(default_factory=dict)
    rows: Rows | None = None  #: (p,) the list, best first; None until `keep_pool`
    pool: Rows = field(default_factory=lambda: np.empty(0, np.int32))  #: the list before variety
    explored: frozenset[int] = frozenset()  #: rows that are labelled exploration
    #: {rule: rows it removed}; a song is counted at the first rule that names it
    removed: dict[str, Rows] = field(default_factory=dict)
    note: str = ""  #: of the step that ran last

    @property
    def left(self) -> int:
        return int(self.alive.sum()) if self.rows is None else len(self.rows)

    @property
    def length(self) -> int:
        """Songs the shortlist should hold."""
        extra = 1.5 if self.query.strategy is Strategy.DEEP else 1.0
        return max(int(self.settings.shaping.shortlist * extra), self.query.count)


def only_what_was_asked(draft: Draft) -> Draft:
    """Keep active songs that pass the caller's filters. An empty result stays empty: a filter is a promise."""
    only, catalog = draft.query.only, draft.catalog
    rules = [("inactive", catalog.inactive)]
    if only.song_ids:
        rules.append(("only: song_ids", _but(np.isin(catalog.song_ids, list(only.song_ids)))))
    for kind, names in (
        ("artist", only.artists),
        ("genre", only.genres),
        ("mood", only.moods),
        ("language", only.languages),
    ):
        if names:
            terms = catalog.terms[kind]
            rules.append((f"only: {kind}", _but(terms.mask(terms.lookup(names)))))
    rules += [
        (f"only: {machine}", _but(_has_number(catalog, machine)))
        for machine in sorted(only.karaoke)
    ]
    return _without(draft, rules)


def _has_number(catalog: Catalog, machine: str) -> Mask:
    if machine not in ("tj", "ky"):
        raise ValueError(f"karaoke: {machine!r} is not tj or ky")
    return catalog.has_tj if machine == "tj" else catalog.has_ky


def without_known_songs(draft: Draft) -> Draft:
    """Leave out favourites in every version of them, unless the caller allows known songs."""
    if draft.query.allow_known:
        return replace(draft, note="known songs allowed")
    taste, catalog = draft.taste, draft.catalog
    return _without(
        draft,
        [
            ("favourite", taste.owned),
            ("another version of a favourite", catalog.versions_of(taste.owned)),
        ],
        when_empty="every song left is a favourite",
    )


def without_what_was_refused(draft: Draft) -> Draft:
    """Leave out dislikes, blocks and what staff barred."""
    catalog, exclude = draft.catalog, draft.query.exclude
    ids = catalog.rows_of(exclude.song_ids)
    rules = [
        ("disliked", catalog.versions_of(draft.taste.disliked)),
        ("unliked lately", draft.taste.resting),
        ("excluded song", ids[ids >= 0]),
    ]
    for kind, names in (
        ("artist", exclude.artists),
        ("genre", exclude.genres),
        ("mood", exclude.moods),
        ("anime", exclude.anime),
    ):
        if names:
            rules.append((f"excluded {kind}", _holding(catalog, kind, names)))
    rules += [
        (f"{p.source}: barred {p.name}", _holding(catalog, p.kind, [p.name]))
        for p in draft.query.preferences
        if p.weight < 0 and p.kind in catalog.terms
    ]
    return _without(draft, rules)


def _holding(catalog: Catalog, kind: str, names: Iterable[str]) -> Rows:
    """(songs,) that hold any of the values, ascending."""
    terms = catalog.terms[kind]
    held = [terms.rows_of(code) for code in terms.lookup(names).tolist()]
    return np.unique(np.concatenate(held)) if held else np.empty(0, np.int32)


def _but(mask: Mask) -> Rows:
    """(songs,) outside of the mask."""
    return np.flatnonzero(~mask).astype(np.int32)


def _without(draft: Draft, rules: list[tuple[str, Rows]], *, when_empty: str = "") -> Draft:
    """Apply rules in order; the note counts what each one took."""
    alive, removed, said = draft.alive.copy(), dict(draft.removed), []
    for rule, rows in rules:
        taken = rows[alive[rows]]
        if len(taken):
            alive[taken] = False
            removed[rule] = taken
            said.append(f"{rule}: {len(taken)}")
    if said and not alive.any():
        said.append(f"nothing left{', ' + when_empty if when_empty else ''}: the list is empty")
    return replace(draft, alive=alive, removed=removed, note="; ".join(said))


def score(draft: Draft) -> Draft:
    """Blend all scorers, the situation included."""
    if not draft.catalog.n:
        return replace(draft, note="the catalog is empty")
    blended = blend(
        draft.model,
        draft.catalog.corpus,
        draft.taste.known,
        draft.settings.blend,
        adventure=draft.query.adventure,
        context_multipliers=situation_multipliers(draft),
    )
    note = f"{draft.taste.known.count} known songs; {', '.join(blended.parts)}"
    return replace(draft, scores=blended.total, parts=dict(blended.parts), note=note)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """One thing a caller says of the moment, and what suits it."""

    name: str  #: a time of day, an activity, an occasion of the table, or a mood of the catalog
    is_mood: bool
    words: dict[str, float]  #: {key of a genre or mood word: multiplier}


def situations_of(draft: Draft) -> list[Situation]:
    """What was said of the moment, the most telling first: the activity, the mood, the time of day."""
    context, table = draft.query.context, draft.settings.situations
    said: list[tuple[str, bool]] = []
    if context.activity:
        said.append((context.activity.value, False))
    if context.mood:
        occasion = table.occasion(context.mood)
        said.append((occasion or context.mood, not occasion))
    if context.time_of_day:
        said.append((context.time_of_day.value, False))
    found = (
        Situation(
            name=name,
            is_mood=is_mood,
            words={term_key(name): table.asked_mood} if is_mood else table.of(name),
        )
        for name, is_mood in said
    )
    return [situation for situation in found if situation.words]


def situation_multipliers(draft: Draft) -> Floats | None:
    """(n,) how much each song suits the time, activity and mood; None without any."""
    words: dict[str, float] = {}
    for situation in situations_of(draft):
        for word, multiplier in situation.words.items():
            words[word] = words.get(word, 1.0) * multiplier
    if not words:
        return None
    strength = draft.settings.situations.strength
    return np.asarray(np.exp(strength * suiting(draft.catalog, words)), np.float32)


def suiting(catalog: Catalog, words: Mapping[str, float]) -> Floats:
    """(n,) sum of the logarithms of a song's multipliers; a value of several words takes its strongest."""
    total = np.zeros(catalog.n, np.float32)
    for kind in ("genre", "mood"):
        terms = catalog.terms[kind]
        logs = np.log(np.array([multiplier_of(name, words) for name in terms.names], np.float32))
        total += terms.matrix @ logs
    return total


def multiplier_of(name: str, words: Mapping[str, float]) -> float:
    """Of one genre or mood as the catalog writes it; 1 where nothing is said of it."""
    keys = [term_key(name), *map(term_key, name.split())]
    hits = [words[key] for key in keys if key in words]
    return max(hits, key=lambda value: abs(np.log(value)), default=1.0)


def lean_to_adventure(draft: Draft) -> Draft:
    """Lift artists the member has not heard when he asks to discover, those he knows when he does not."""
    adventure = draft.query.adventure
    if adventure is None or not draft.taste.known.count:
        return draft
    lean = 2 * float(np.clip(adventure, 0, 1)) - 1
    new = are_new_artists(draft, np.arange(draft.catalog.n, dtype=np.int32))
    part = np.where(new, lean, -lean).astype(np.float32) * draft.settings.shaping.adventure
    return replace(
        draft,
        scores=draft.scores + part,
        parts={**draft.parts, "adventure": part},
        note=f"new artists {lean * draft.settings.shaping.adventure:+.2f}",
    )


def lean_to_preferences(draft: Draft) -> Draft:
    """Lift what staff pinned and what the model read out of the likes."""
    if not draft.query.preferences:
        return draft
    scores, parts, said = draft.scores.copy(), dict(draft.parts), []
    for preference in draft.query.preferences:
        if preference.weight <= 0 or preference.kind not in draft.catalog.terms:
            continue
        lift = _lift(draft, preference)
        rows = _holding(draft.catalog, preference.kind, [preference.name])
        if not len(rows):
            said.append(f"{preference.source}: no song of {preference.name}")
            continue
        part = parts.setdefault(preference.source, np.zeros(draft.catalog.n, np.float32))
        part[rows] += lift
        scores[rows] += lift
        said.append(f"{preference.source}: {preference.name} +{lift:.2f}")
    return replace(draft, scores=scores, parts=parts, note="; ".join(said))


def _lift(draft: Draft, preference: Preference) -> float:
    shaping = draft.settings.shaping
    strength = shaping.staff_pin if preference.source == "staff" else shaping.model_lean
    return strength * min(preference.weight, 1.0)


def rest_what_was_shown(draft: Draft) -> Draft:
    """Sink what was served and not taken up; it rises again as the days go by."""
    shaping, query = draft.settings.shaping, draft.query
    if not query.impressions:
        return draft
    rows = draft.catalog.rows_of([shown.song_id for shown in query.impressions])
    part = np.zeros(draft.catalog.n, np.float32)
    taken_up = _taken_up(draft)
    for row, shown in zip(rows.tolist(), query.impressions, strict=True):
        if row < 0 or shown.last_at - taken_up.get(shown.song_id, _LONG_AGO) < _TAKEN_UP_WITHIN:
            continue
        age_days = max((query.now - shown.last_at).total_seconds() / 86_400, 0.0)
        fresh = 2 ** (-age_days / shaping.rotation_half_life_days)
        part[row] = -shaping.rotation * np.log2(1 + shown.times) * fresh
    return replace(
        draft,
        scores=draft.scores + part,
        parts={**draft.parts, "rotation": part},
        note=f"{int((part < -0.01).sum())} shown lately sink",
    )


def _taken_up(draft: Draft) -> dict[int, datetime]:
    """{song id: when the member last did something with it that speaks for it}"""
    latest: dict[int, datetime] = {}
    for signal in draft.query.signals:
        if signal.at and draft.settings.signals.of(signal.type) > 0:
            latest[signal.song_id] = max(latest.get(signal.song_id, signal.at), signal.at)
    return latest


def keep_pool(draft: Draft) -> Draft:
    """Keep the best songs as a list, one per same song; equal scores are ordered by the seed."""
    wanted = max(draft.settings.shaping.pool, 2 * draft.length)
    alive = np.flatnonzero(draft.alive)
    # Versions of one song are neighbours in score: take more, so that enough stay after merging.
    best = _best(alive, draft.scores[alive], wanted + wanted // 4, draft.query.seed)
    roots: dict[int, int] = {}
    for row, root in zip(best.tolist(), draft.catalog.same_song[best].tolist(), strict=True):
        roots.setdefault(root, row)
    rows = np.array(list(roots.values()), np.int32)
    merged = np.sort(best[~np.isin(best, rows)]) if len(rows) < len(best) else best[:0]
    note = f"{len(merged)} further versions of a song merged" if len(merged) else ""
    rows = rows[:wanted]
    return replace(
        draft,
        rows=rows,
        pool=rows,
        removed={**draft.removed, "another version is listed": merged},
        note=note,
    )


def _best(rows: npt.NDArray[np.intp], scores: Floats, wanted: int, seed: int) -> Rows:
    """Best first. Where many songs score alike (a catalog without likes), chance decides, not the id."""
    if len(rows) > wanted:
        bar = np.partition(scores, len(rows) - wanted)[len(rows) - wanted]
        chosen = scores >= bar
        rows, scores = rows[chosen], scores[chosen]
    chance = np.random.default_rng(seed).random(len(rows))
    order = np.lexsort((chance, -scores))[:wanted]
    return rows[order].astype(np.int32)


def vary(draft: Draft) -> Draft:
    """Order by relevance, variety and the member's own mix, within the caps per artist and anime.

    Greedy maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) with Steck's calibration
    as a third term; songs over a cap come last, and only while nothing else is left.
    """
    assert draft.rows is not None
    if not len(draft.rows):
        return replace(draft, note="nothing to order")
    greedy = _Greedy.of(draft, draft.rows)
    # What lies beyond the answer feeds groups and curation, which have an order of their own.
    ordered = max(draft.query.count, _ORDERED)
    order = [greedy.pick() for _ in range(min(ordered, draft.length, len(draft.rows)))]
    picked = np.zeros(len(draft.rows), bool)
    picked[order] = True
    rest = np.flatnonzero(~picked)[: draft.length - len(order)]
    note = f"{greedy.relaxed} over a cap, for want of others" if greedy.relaxed else ""
    return replace(draft, rows=draft.rows[[*order, *rest.tolist()]], note=note)


def _diversity(draft: Draft) -> float:
    """What the caller asks for, else what staff set; 0 in a sitting, whose songs belong together."""
    if draft.query.diversity is not None:
        return draft.query.diversity
    return 0.0 if "session" in draft.parts else draft.settings.shaping.diversity


class _Greedy:
    """State of one greedy ordering over p rows."""

    def __init__(
        self, *, relevance: Floats, alike: Floats, trade: float, mixes: list[_Mix], caps: list[_Cap]
    ) -> None:
        self.worth = trade * relevance  # (p,) -inf once it is taken
        self.alike = (1 - trade) * alike  # (p, p)
        self.mixes = mixes
        self.caps = caps
        self.nearest = np.zeros(len(relevance), np.float32)
        self.picked = 0
        self.relaxed = 0

    @classmethod
    def of(cls, draft: Draft, rows: Rows) -> _Greedy:
        diversity = _diversity(draft)
        features = draft.catalog.corpus.features[rows]
        return cls(
            relevance=_unit(draft.scores[rows]),
            alike=likeness(features),
            trade=1 - 0.6 * float(np.clip(diversity, 0, 1)) ** 2,
            mixes=_mixes(draft, rows),
            caps=_caps(draft, rows),
        )

    def pick(self) -> int:
        gain = self.worth - self.nearest
        if self.picked < WINDOW:  # the first screen is what a member compares with his own taste
            for mix in self.mixes:
                gain += mix.gain()
        best = self._best(gain)
        self.worth[best] = -np.inf
        self.picked += 1
        np.maximum(self.nearest, self.alike[best], out=self.nearest)
        for mix in self.mixes:
            mix.take(best)
        for cap in self.caps:
            cap.take(best, self.picked)
        return best

    def _best(self, gain: Floats) -> int:
        """The best song within the caps; over a cap only when no other is left."""
        within = gain
        for cap in self.caps:
            within = np.where(cap.full, -np.inf, within)
        best = int(np.argmax(within))
        if within[best] > -np.inf:
            return best
        self.relaxed += 1
        return int(np.argmax(gain))


def likeness(features: csr_matrix) -> Floats:
    """(p, p) cosine of content, drawn towards 0 where little is known of the songs.

    Where a song's genre is all there is, every pair of a genre has a cosine of 1: that makes them
    neighbours, not copies.
    """
    known = np.diff(features.indptr)
    trust = np.sqrt(known / (known + _CONTENT_PRIOR)).astype(np.float32)
    trusted = features.copy()
    trusted.data *= np.repeat(trust, known)
    return np.asarray((trusted @ trusted.T).todense(), np.float32)


def _unit(scores: Floats) -> Floats:
    """Scores stretched to 0..1; all 1 when they are all the same."""
    low, high = float(scores.min()), float(scores.max())
    if high - low < 1e-9:
        return np.ones(len(scores), np.float32)
    return ((scores - low) / (high - low)).astype(np.float32)


class _Cap:
    """At most so many songs of one value in every 20."""

    def __init__(self, codes: Rows, most: Floats) -> None:
        self.codes = codes  # (p,) -1 = no value, never capped
        self.most = most  # (p,)
        self.taken = np.zeros(int(codes.max(initial=-1)) + 2, np.int32)
        self.full = np.zeros(len(codes), bool)  # (p,) no more of these for now

    def room(self, *, besides: Rows) -> Mask:
        """(p,) whether a song of the same value fits into any stretch of 20 besides those codes."""
        taken = np.bincount(besides[besides >= 0], minlength=len(self.taken))
        return (self.codes < 0) | (taken[self.codes] + 1 <= self.most)

    def take(self, place: int, picked: int) -> None:
        """Count the song at `place`, the `picked`-th of the list."""
        self.taken[self.codes[place]] += 1
        windows = 1 + picked // WINDOW
        if picked % WINDOW == 0:
            self.full = (self.codes >= 0) & (self.taken[self.codes] >= self.most * windows)
        elif self.codes[place] >= 0 and self.taken[self.codes[place]] >= self.most[place] * windows:
            self.full |= self.codes == self.codes[place]


def _caps(draft: Draft, rows: Rows) -> list[_Cap]:
    """None for what the caller asks for by name: a list of one artist is meant to be one."""
    shaping = draft.settings.shaping
    caps = []
    for kind, most, named in (
        ("artist", shaping.artist_cap, bool(draft.query.only.artists)),
        ("anime", shaping.anime_cap, False),
    ):
        if not named and not draft.query.only.song_ids:
            codes = draft.catalog.terms[kind].leading[rows]
            caps.append(_Cap(codes, cap_of(draft, kind, most)[codes]))
    return caps


def cap_of(draft: Draft, kind: str, least: int) -> Floats:
    """(values + 1,) songs per 20 of each value; the last entry is for songs without a value.

    An artist of many of the member's likes may fill more: `loyalty` of his share, shrunk while the
    likes are few.
    """
    share, known = draft.taste.mix[kind], draft.taste.known.count
    earned = share * draft.settings.shaping.loyalty * WINDOW * known / (known + _LOYALTY_PRIOR)
    return np.append(np.maximum(np.round(earned), least), WINDOW).astype(np.float32)


class _Mix:
    """Draws the list towards the member's share of each genre (or mood).

    The list starts with one imagined song of exactly that mix: it smooths what Steck ("Calibrated
    recommendations", RecSys 2018, equation 7) smooths with a constant, and fades as songs are added.
    """

    def __init__(self, *, share: Floats, held: Floats, tells: Mask, strength: float) -> None:
        """held: (p, g) a song's values, each row sums to at most 1. tells: (p,) it has any value at all."""
        self.share = share  # (g,) sums to 1
        # Few different combinations of values exist: gains are computed once for each.
        bits = (held > 0) @ (2 << np.arange(held.shape[1], dtype=np.int64)) + tells
        _, first, self.combination = np.unique(bits, return_index=True, return_inverse=True)
        self.held = held[first]
        self.tells = tells[first]  # songs without a value change nothing
        self.strength = strength
        self.total = share.copy()
        self.counted = 1

    def gain(self) -> Floats:
        """(p,) fall of the Kullback-Leibler divergence from the member's mix if the song is added.

        Times the length, so that a place late in the list is worth as much as an early one.
        """
        now = float(np.log(self.total / self.counted) @ self.share)
        then = np.log((self.total + self.held) / (self.counted + 1)) @ self.share
        worth = self.strength * (self.counted + 1) * (then - now)
        gain: Floats = np.where(self.tells, worth, 0).astype(np.float32)[self.combination]
        return gain

    def take(self, place: int) -> None:
        """Add the song at `place` to the mix."""
        combination = self.combination[place]
        self.total += self.held[combination]
        self.counted += int(self.tells[combination])


def _mixes(draft: Draft, rows: Rows) -> list[_Mix]:
    strength = draft.settings.shaping.calibration
    if not strength:
        return []
    found = (_mix(draft, rows, kind, strength) for kind in ("genre", "mood"))
    return [mix for mix in found if mix]


def _mix(draft: Draft, rows: Rows, kind: str, strength: float) -> _Mix | None:
    """None when nothing is known of the member's mix, or it is one value only."""
    share = draft.taste.mix[kind]
    kept = np.flatnonzero(share >= _LEAST_SHARE)
    if len(kept) < 2:
        return None
    codes, owners = draft.catalog.terms[kind].gather(rows)
    column = np.full(len(share), -1, np.int32)
    column[kept] = np.arange(len(kept))
    counted = column[codes] >= 0
    held = np.zeros((len(rows), len(kept)), np.float32)
    held[owners[counted], column[codes[counted]]] = 1
    sizes = np.bincount(owners, minlength=len(rows))
    held /= np.maximum(sizes, 1)[:, None]
    kept_share = share[kept] / share[kept].sum()
    return _Mix(share=kept_share, held=held, tells=sizes > 0, strength=strength)


def explore(draft: Draft) -> Draft:
    """Put labelled songs from beyond the list into every tenth place, drawn by the seed.

    They come from the pool, so they suit the member; among those, the less shown are drawn more often.
    """
    assert draft.rows is not None
    count = min(draft.query.count, len(draft.rows))
    # Nothing by chance for those who ask for the familiar; twice as much for those who want to discover.
    eager = 1.0 if draft.query.adventure is None else 2 * draft.query.adventure
    places = _explored_places(count, draft.settings.shaping.exploration * eager)
    listed = draft.rows
    beyond = np.setdiff1d(np.concatenate([listed[count:], draft.pool]), listed[:count])
    beyond = _within_caps(draft, listed[:count], beyond)
    # Artists not heard yet, then songs that suit better than an average one, while there are enough.
    for is_better in (are_new_artists, _suit):
        better = beyond[is_better(draft, beyond)]
        beyond = better if len(better) >= 2 * len(places) else beyond
    chosen = _drawn(draft, beyond, len(places))
    if not len(chosen):
        return replace(
            draft,
            note="none: the list is too short" if not places else "none: nothing beyond the list",
        )
    kept = listed[~np.isin(listed, chosen)].tolist()
    for place, row in zip(places, chosen.tolist(), strict=False):
        kept.insert(place, row)
    rows = np.array(kept[: max(len(listed), count)], np.int32)
    explored = frozenset(chosen.tolist())
    return replace(draft, rows=rows, explored=explored, note=f"{len(chosen)} of {count}")


def are_new_artists(draft: Draft, rows: Rows) -> Mask:
    """(r,) songs that name no artist among what the member likes, plays or sings."""
    terms, heard = draft.catalog.terms["artist"], draft.taste.mix["artist"] > 0
    codes, owners = terms.gather(rows)
    new = np.ones(len(rows), bool)
    new[owners[heard[codes]]] = False
    return new


def _suit(draft: Draft, rows: Rows) -> Mask:
    """(r,) songs that suit the member better than an average one."""
    return np.asarray(draft.scores[rows] > 0)


def _explored_places(count: int, share: float) -> list[int]:
    """Evenly spread, each at the end of its stretch: the top of the list stays the best songs."""
    wanted = int(count * share + 1e-9)
    return [int((number + 1) * count / wanted) - 1 for number in range(wanted)]


def _within_caps(draft: Draft, listed: Rows, beyond: Rows) -> Rows:
    """Those of `beyond` of which one may join `listed` at any place without breaking a cap."""
    both = np.concatenate([listed, beyond])
    fits = np.ones(len(beyond), bool)
    for cap in _caps(draft, both):
        fits &= cap.room(besides=cap.codes[: len(listed)])[len(listed) :]
    return beyond[fits]


def _drawn(draft: Draft, beyond: Rows, wanted: int) -> Rows:
    """(≤ wanted,) without repetition, each of another artist and anime: together they break no cap."""
    if not len(beyond):
        return np.empty(0, np.int32)
    likely = np.exp(_unit(draft.scores[beyond])) * (1.5 - draft.catalog.popularity_rank[beyond])
    rng = np.random.default_rng([draft.query.seed, len(beyond)])
    drawn = rng.choice(beyond, size=len(beyond), replace=False, p=likely / likely.sum())
    alone = np.ones(len(drawn), bool)
    for cap in _caps(draft, drawn):
        first = np.unique(cap.codes, return_index=True)[1]
        again = np.ones(len(drawn), bool)
        again[first] = False
        alone &= ~again | (cap.codes < 0)
    return np.asarray(drawn[alone][:wanted], np.int32)
