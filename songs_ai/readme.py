"""Keeps the README's table of settings equal to the code: `python -m songs_ai.readme` writes it anew."""

from __future__ import annotations

from pathlib import Path

from songs_ai import settings

README = Path(settings.BASE_DIR) / "README.md"
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->"


def table() -> str:
    """Every setting the environment may hold, in the order that songs_ai/settings declares it."""
    rows = ["| setting | default | what it does |", "|---|---|---|"]
    for declared in settings.env.declared.values():
        default = declared.default.replace(str(settings.BASE_DIR) + "/", "")
        secret = " *(secret)*" if declared.secret else ""
        shown = f"`{default}`" if default else "–"
        rows.append(f"| `{declared.name}` | {shown} | {declared.help}{secret} |")
    return "\n".join(rows) + "\n"


def written(text: str) -> str:
    """The README with the table as the code has it."""
    before, _begin, rest = text.partition(BEGIN)
    _old, _end, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    README.write_text(written(README.read_text("utf-8")), "utf-8")
