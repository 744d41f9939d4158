"""Stands in for the service that Songs AI replaces: FastAPI, a pydantic response model, one process.

Cached reads: `json.loads` → model → dump. Cold ones: PyMySQL with DictCursor, `SELECT *` over all songs
with lyrics, equality scoring in Python; the language model is left out.
"""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pymysql
import redis
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel


class Song(BaseModel):
    song_id: int
    title_jp: str | None = None
    title_kr: str | None = None
    title_en: str | None = None
    title_yomi: str | None = None
    artist: str | None = None
    artist_kr: str | None = None
    tj_number: int | None = None
    ky_number: int | None = None


class Candidate(Song):
    genre: str | None = None
    mood: str | None = None
    recommendation_type: str = "preference"
    matched_criteria: list[str] = []
    match_score: float = 0.0
    reason: str = ""


class Group(BaseModel):
    label: str
    tagline: str
    songs: list[Song]


class Cached(BaseModel):
    favorite_song_ids: list[int]
    groups: list[Group]
    candidates: list[Candidate]
    generated_date: str
    cached: bool = True


class Member(BaseModel):
    memberId: str
    favorite_song_ids: list[int] = []


app = FastAPI()
store = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.post("/recommend/cached", response_model=Cached)
async def cached(member: Member) -> Any:
    stored = store.get(f"recommend:{member.memberId}")
    if stored is None:
        raise HTTPException(404, "no cached recommendation")
    return Cached(**json.loads(stored))


def likeness(song: dict[str, Any], like: dict[str, Any]) -> int:
    """Points for what a song and a liked one have in common."""
    return (
        3 * (song["artist"] == like["artist"])
        + 2 * (song["genre"] == like["genre"])
        + (song["mood"] == like["mood"])
    )


@app.post("/recommend")
async def recommend(member: Member) -> Any:
    connection = pymysql.connect(
        host="127.0.0.1",
        port=int(os.environ["MYSQL_PORT"]),
        user="root",
        database=os.environ["MYSQL_DATABASE"],
        cursorclass=pymysql.cursors.DictCursor,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM song")
        songs = list(cursor.fetchall())
    favorites = set(member.favorite_song_ids)
    liked = [song for song in songs if song["song_id"] in favorites]
    scored = [
        (sum(likeness(song, like) for like in liked), random.random(), song) for song in songs
    ]
    scored.sort(key=lambda item: (-item[0], item[1]))
    return {"candidates": [Candidate(**song).model_dump() for _score, _luck, song in scored[:100]]}
