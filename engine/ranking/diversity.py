"""Cuts the scored songs to a list and orders it for variety, within the caps per artist and anime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from engine.arrays import Floats, Mask, Rows
from engine.ranking.draft import WINDOW, Draft
from engine.ranking.notes import Note, NoteCode
from engine.weights import ScorerName

#: Minimum places that are ordered for variety, whatever the requested count.
_MIN_ORDERED = 40
#: Shrinkage prior of loyalty: with 5 likes an artist's share counts half.
_LOYALTY_PRIOR = 5.0
#: Shrinkage prior of content: with 4 features a song's likeness counts half.
_CONTENT_PRIOR = 4.0
#: Minimum share among the likes of a genre or mood that calibration considers.
_MIN_MIX_SHARE = 0.03


def keep_pool(draft: Draft) -> Draft:
    """Keep the best songs as a list, one per same song; equal scores are ordered by the seed."""
    wanted = max(draft.settings.shaping.pool, 2 * draft.length)
    alive = np.flatnonzero(draft.alive)
    # Versions of one song have similar scores: take more, so that enough stay after merging.
    best = _best_rows(alive, draft.scores[alive], wanted + wanted // 4, draft.query.seed)
    roots: dict[int, int] = {}
    for row, root in zip(best.tolist(), draft.catalog.same_song[best].tolist(), strict=True):
        roots.setdefault(root, row)
    rows = np.array(list(roots.values()), np.int32)
    merged = np.sort(best[~np.isin(best, rows)]) if len(rows) < len(best) else best[:0]
    notes = (Note(code=NoteCode.VERSIONS_MERGED, count=len(merged)),) if len(merged) else ()
    rows = rows[:wanted]
    return replace(
        draft,
        rows=rows,
        pool=rows,
        removed={**draft.removed, "another version is listed": merged},
        notes=notes,
    )


def _best_rows(rows: npt.NDArray[np.intp], scores: Floats, count: int, seed: int) -> Rows:
    """Best first; the seed decides between equal scores, so that ids do not (a catalog without likes)."""
    if len(rows) > count:
        threshold = np.partition(scores, len(rows) - count)[len(rows) - count]
        chosen = scores >= threshold
        rows, scores = rows[chosen], scores[chosen]
    chance = np.random.default_rng(seed).random(len(rows))
    order = np.lexsort((chance, -scores))[:count]
    return rows[order].astype(np.int32)


def vary(draft: Draft) -> Draft:
    """Order by relevance, variety and the member's own mix, within the caps per artist and anime.

    Greedy maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) with Steck's calibration
    as a third term; songs over a cap come last, and only while nothing else is left.
    """
    assert draft.rows is not None
    if not len(draft.rows):
        return replace(draft, notes=(Note(code=NoteCode.NOTHING_TO_ORDER),))
    greedy = _Greedy.of(draft, draft.rows)
    # Songs beyond the answer feed groups and curation, which order them themselves.
    ordered = max(draft.query.count, _MIN_ORDERED)
    order = [greedy.pick() for _ in range(min(ordered, draft.length, len(draft.rows)))]
    picked = np.zeros(len(draft.rows), bool)
    picked[order] = True
    rest = np.flatnonzero(~picked)[: draft.length - len(order)]
    notes = (Note(code=NoteCode.OVER_CAP, count=greedy.relaxed),) if greedy.relaxed else ()
    return replace(draft, rows=draft.rows[[*order, *rest.tolist()]], notes=notes)


def _diversity(draft: Draft) -> float:
    """The request's diversity, else the setting; 0 in a sitting, whose songs belong together."""
    if draft.query.diversity is not None:
        return draft.query.diversity
    return 0.0 if ScorerName.SESSION in draft.parts else draft.settings.shaping.diversity


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
            relevance=unit(draft.scores[rows]),
            alike=likeness(features),
            trade=1 - 0.6 * float(np.clip(diversity, 0, 1)) ** 2,
            mixes=_mixes(draft, rows),
            caps=artist_and_anime_caps(draft, rows),
        )

    def pick(self) -> int:
        gain = self.worth - self.nearest
        if self.picked < WINDOW:  # members compare the first screen with their own taste
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


def unit(scores: Floats) -> Floats:
    """Scores stretched to 0..1; all 1 when they are all the same."""
    low, high = float(scores.min()), float(scores.max())
    if high - low < 1e-9:
        return np.ones(len(scores), np.float32)
    return ((scores - low) / (high - low)).astype(np.float32)


class _Cap:
    """A limit of songs of one value in every 20."""

    def __init__(self, codes: Rows, limit: Floats) -> None:
        self.codes = codes  # (p,) -1 = no value, never capped
        self.limit = limit  # (p,)
        self.taken = np.zeros(int(codes.max(initial=-1)) + 2, np.int32)
        self.full = np.zeros(len(codes), bool)  # (p,) no more of these for now

    def room(self, *, besides: Rows) -> Mask:
        """(p,) whether a song of the same value fits into any stretch of 20 besides those codes."""
        taken = np.bincount(besides[besides >= 0], minlength=len(self.taken))
        return (self.codes < 0) | (taken[self.codes] + 1 <= self.limit)

    def take(self, place: int, picked: int) -> None:
        """Count the song at `place`, the `picked`-th of the list."""
        self.taken[self.codes[place]] += 1
        windows = 1 + picked // WINDOW
        if picked % WINDOW == 0:
            self.full = (self.codes >= 0) & (self.taken[self.codes] >= self.limit * windows)
        elif (
            self.codes[place] >= 0 and self.taken[self.codes[place]] >= self.limit[place] * windows
        ):
            self.full |= self.codes == self.codes[place]


def artist_and_anime_caps(draft: Draft, rows: Rows) -> list[_Cap]:
    """The caps that apply; none for artists the caller asks for by name."""
    shaping = draft.settings.shaping
    caps = []
    for kind, limit, named in (
        ("artist", shaping.artist_cap, bool(draft.query.only.artists)),
        ("anime", shaping.anime_cap, False),
    ):
        if not named and not draft.query.only.song_ids:
            codes = draft.catalog.terms[kind].leading[rows]
            caps.append(_Cap(codes, cap_of(draft, kind, limit)[codes]))
    return caps


def cap_of(draft: Draft, kind: str, minimum: int) -> Floats:
    """(values + 1,) songs per 20 of each value; the last entry is for songs without a value.

    An artist of many of the member's likes may fill more: `loyalty` of their share, shrunk while the
    likes are few.
    """
    share, known = draft.taste.mix[kind], draft.taste.known.count
    earned = share * draft.settings.shaping.loyalty * WINDOW * known / (known + _LOYALTY_PRIOR)
    return np.append(np.maximum(np.round(earned), minimum), WINDOW).astype(np.float32)


class _Mix:
    """Draws the list towards the member's share of each genre (or mood).

    The list starts with one imagined song of exactly that mix: it smooths what Steck ("Calibrated
    recommendations", RecSys 2018, equation 7) smooths with a constant, and fades as songs are added.
    """

    def __init__(self, *, share: Floats, held: Floats, has_value: Mask, strength: float) -> None:
        """held: (p, g) a song's values, each row sums to at most 1. has_value: (p,) whether it has any."""
        self.share = share  # (g,) sums to 1
        # Few different combinations of values exist: gains are computed once for each.
        bits = (held > 0) @ (2 << np.arange(held.shape[1], dtype=np.int64)) + has_value
        _, first, self.combination = np.unique(bits, return_index=True, return_inverse=True)
        self.held = held[first]
        self.has_value = has_value[first]  # songs without a value change nothing
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
        gain: Floats = np.where(self.has_value, worth, 0).astype(np.float32)[self.combination]
        return gain

    def take(self, place: int) -> None:
        """Add the song at `place` to the mix."""
        combination = self.combination[place]
        self.total += self.held[combination]
        self.counted += int(self.has_value[combination])


def _mixes(draft: Draft, rows: Rows) -> list[_Mix]:
    strength = draft.settings.shaping.calibration
    if not strength:
        return []
    found = (_mix(draft, rows, kind, strength) for kind in ("genre", "mood"))
    return [mix for mix in found if mix]


def _mix(draft: Draft, rows: Rows, kind: str, strength: float) -> _Mix | None:
    """None when the member's mix is unknown or has fewer than two values."""
    share = draft.taste.mix[kind]
    kept = np.flatnonzero(share >= _MIN_MIX_SHARE)
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
    return _Mix(share=kept_share, held=held, has_value=sizes > 0, strength=strength)
