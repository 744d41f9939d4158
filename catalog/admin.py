"""Admin pages of songs and members in the neighbours' tables: read-only, unless the tables are ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from catalog import snapshot
from catalog.models import Member, Playlist, Role, Song, SongLike
from engine.catalog.search.query import find_songs
from infrastructure.admin import ReadOnlyAdmin

#: Maximum songs that a search in the admin finds.
MAX_FOUND = 200
#: Favourites shown on a member's page.
MAX_FAVORITES = 100
EMPTY = "–"


class OwnedAdmin(ReadOnlyAdmin):
    """Editable where the table is ours (CATALOG_OWNED), else read-only."""

    actions: Any = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return settings.CATALOG_OWNED and admin.ModelAdmin.has_add_permission(self, request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return settings.CATALOG_OWNED and admin.ModelAdmin.has_change_permission(self, request, obj)


def page_link(viewname: str, key: object, text: object, query: str = "") -> SafeString:
    """Link to an admin page; plain text where that page does not exist here."""
    try:
        address = reverse(f"admin:{viewname}", args=[] if query else [key])
    except NoReverseMatch:
        return format_html("{}", text)
    return format_html('<a href="{}{}">{}</a>', address, query, text)


def japanese(text: str) -> SafeString:
    """Mark text as Japanese: else browsers draw Han characters in their Korean or Chinese form."""
    return format_html('<span lang="ja">{}</span>', text) if text else SafeString(EMPTY)


def total(rows: QuerySet[Any], field: str, amount: Any) -> Coalesce:
    """A sum or count per row of the list, by index; 0 where there is nothing."""
    summed = rows.order_by().values(field).annotate(total=amount).values("total")
    return Coalesce(Subquery(summed, output_field=IntegerField()), 0)


class KaraokeFilter(admin.SimpleListFilter):
    title = _("노래방 번호")
    parameter_name = "karaoke"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("tj", _("TJ 있음")), ("ky", _("금영 있음")), ("none", _("번호 없음"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Song]) -> QuerySet[Song]:
        filters: dict[str, dict[str, int | None]] = {
            "tj": {"tj_number__gt": 0},
            "ky": {"ky_number__gt": 0},
            "none": {"tj_number": None, "ky_number": None},
        }
        return queryset.filter(**filters.get(self.value() or "", {}))


class TermFilter(admin.SimpleListFilter):
    """The most frequent values of a hand-written column, one by one ("J-pop, 록" is under both)."""

    kind = ""
    MAX_TERMS = 15

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        try:
            catalog = snapshot.current().catalog
        except snapshot.CatalogUnavailable:
            return []
        terms, shares = catalog.terms[self.kind], catalog.prior[self.kind]
        most_frequent = sorted(range(len(terms.names)), key=lambda code: -float(shares[code]))
        names = [terms.names[code] for code in most_frequent[: self.MAX_TERMS]]
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Song]) -> QuerySet[Song]:
        term = self.value()
        return queryset.filter(**{f"{self.kind}__icontains": term}) if term else queryset


class GenreFilter(TermFilter):
    title, parameter_name, kind = _("장르"), "genre_term", "genre"


class MoodFilter(TermFilter):
    title, parameter_name, kind = _("분위기"), "mood_term", "mood"


@admin.register(Song)
class SongAdmin(OwnedAdmin):
    list_display = (
        "song_id",
        "title_ja",
        "title_kr",
        "artist_ja",
        "genre",
        "mood",
        "tj_number",
        "ky_number",
        "anime_title",
        "liked",
    )
    list_display_links = ("song_id", "title_ja")
    list_filter = (KaraokeFilter, GenreFilter, MoodFilter, "anime_type")
    list_select_related = ("anime",)
    search_fields = ("song_id",)
    search_help_text = _(
        "제목, 가수, 애니, 독음, 초성, 노래방 번호로 찾습니다. 오타가 있어도 됩니다."
    )
    ordering = ("-song_id",)
    empty_value_display = EMPTY
    raw_id_fields = ("anime",)
    fieldsets = (
        (
            _("제목"),
            {
                "fields": (
                    "title_jp",
                    "title_kr",
                    "title_en",
                    "title_yomi",
                    "title_yomi_kr",
                    "title_en_kr",
                )
            },
        ),
        (_("가수와 분류"), {"fields": ("artist", "artist_kr", "lang", "genre", "mood")}),
        (_("애니메이션"), {"fields": ("anime", "anime_type")}),
        (_("노래방 번호"), {"fields": ("tj_number", "ky_number")}),
        (_("기록"), {"fields": ("created_at", "modified_at", "liked")}),
    )
    readonly_fields = ("liked",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Song]:
        likes = SongLike.objects.filter(song_id=OuterRef("pk"))
        return super().get_queryset(request).annotate(n_likes=total(likes, "song_id", Count("pk")))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Song], search_term: str
    ) -> tuple[QuerySet[Song], bool]:
        """Use the search index, never LIKE '%…%' over a table full of lyrics."""
        term = search_term.strip()
        if not term:
            return queryset, False
        ids = [int(term)] if term.isascii() and term.isdigit() and len(term) < 19 else []
        try:
            songs = snapshot.current()
        except snapshot.CatalogUnavailable:
            return queryset.filter(pk__in=ids), False
        rows = [row for row, _score in find_songs(songs.search, term, MAX_FOUND)]
        ids += songs.catalog.song_ids[rows].tolist()
        return queryset.filter(pk__in=ids), False

    @admin.display(description=_("제목(일본어)"), ordering="title_jp")
    def title_ja(self, song: Song) -> SafeString:
        return japanese(song.title_jp or "")

    @admin.display(description=_("가수"), ordering="artist")
    def artist_ja(self, song: Song) -> SafeString:
        return japanese(song.artist or "")

    @admin.display(description=_("애니메이션"))
    def anime_title(self, song: Song) -> str:
        return song.anime.title if song.anime else EMPTY

    @admin.display(description=_("좋아요"))
    def liked(self, song: Song) -> int:
        return getattr(song, "n_likes", 0)


def masked_email(email: str) -> str:
    """Enough of an address to recognise it, not enough to write to it: d***@example.invalid."""
    name, at, domain = email.partition("@")
    return f"{name[:1]}***{at}{domain}" if at else "***"


class RoleFilter(admin.SimpleListFilter):
    title = _("상태")
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Role.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Member]) -> QuerySet[Member]:
        role = self.value()
        return queryset.filter(roles__role=role).distinct() if role else queryset


@admin.register(Member)
class MemberAdmin(ReadOnlyAdmin):
    """Members of the shared database. The e-mail is masked; password and phone are no fields of the model."""

    actions: Any = None
    list_display = ("member_id", "email_masked", "role_names", "liked", "created_at")
    list_filter = (RoleFilter,)
    search_fields = ("=member_id", "=email")
    search_help_text = _("회원 번호 또는 이메일 전체로 찾습니다.")
    ordering = ("-member_id",)
    empty_value_display = EMPTY
    fieldsets = (
        (
            None,
            {"fields": ("member_id", "email_masked", "role_names", "created_at", "modified_at")},
        ),
        (_("추천"), {"fields": ("pages",)}),
        (_("즐겨찾기"), {"fields": ("favorites", "playlists")}),
    )
    readonly_fields = ("email_masked", "role_names", "pages", "favorites", "playlists")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Member]:
        likes = SongLike.objects.filter(member_id=OuterRef("pk"))
        members = super().get_queryset(request).prefetch_related("roles")
        return members.annotate(n_likes=total(likes, "member_id", Count("pk")))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Member], search_term: str
    ) -> tuple[QuerySet[Member], bool]:
        """Number or whole address, both by index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.isascii() and term.isdigit() and len(term) < 19:
            return queryset.filter(pk=int(term)), False
        return queryset.filter(email=term), False

    @admin.display(description=_("이메일"))
    def email_masked(self, member: Member) -> str:
        return masked_email(member.email)

    @admin.display(description=_("상태"))
    def role_names(self, member: Member) -> str:
        return ", ".join(sorted({role.role for role in member.roles.all()})) or EMPTY

    @admin.display(description=_("좋아요"))
    def liked(self, member: Member) -> int:
        return getattr(member, "n_likes", 0)

    @admin.display(description=_("바로 가기"))
    def pages(self, member: Member) -> SafeString:
        links = [
            page_link("profiles_tasteprofile_of_member", member.pk, _("취향 프로필")),
            page_link("recommendations_run_changelist", None, _("추천 실행"), f"?q={member.pk}"),
        ]
        return format_html_join(" · ", "{}", ((link,) for link in links))

    @admin.display(description=_("좋아요한 곡"))
    def favorites(self, member: Member) -> SafeString:
        likes = member.likes.select_related("song").order_by("-id")[:MAX_FAVORITES]
        return song_list(
            dict.fromkeys(like.song for like in likes), empty=_("좋아요한 곡이 없습니다.")
        )

    @admin.display(description=_("플레이리스트"))
    def playlists(self, member: Member) -> SafeString:
        lists = Playlist.objects.filter(member=member).annotate(n=Count("entries")).order_by("-pk")
        rows = [
            (playlist.title, ngettext_lazy("%d곡", "%d곡", playlist.n) % playlist.n)
            for playlist in lists[:MAX_FAVORITES]
        ]
        if not rows:
            return format_html("{}", _("플레이리스트가 없습니다."))
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{} ({})</li>", rows))


def song_list(songs: Iterable[Song], *, empty: object) -> SafeString:
    """Songs as links, Japanese marked as such."""
    rows = [
        (
            page_link("catalog_song_change", song.pk, japanese(str(song))),
            japanese(song.artist or ""),
        )
        for song in songs
    ]
    if not rows:
        return format_html("{}", empty)
    return format_html("<ol>{}</ol>", format_html_join("", "<li>{} – {}</li>", rows))
