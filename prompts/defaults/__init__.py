"""The texts that come with the repository: version 1 of every prompt, and the last resort when no store answers."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from prompts.versions.contracts import Contract, ParamValue, contract
from prompts.versions.rendering import body_sha

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class DefaultText:
    """One prompt as the repository ships it."""

    slug: str
    title: str
    contract: Contract
    note: str
    system_text: str
    user_text: str
    params: dict[str, ParamValue]

    @property
    def sha(self) -> str:
        return body_sha(
            contract_key=self.contract.key,
            contract_version=self.contract.version,
            system_text=self.system_text,
            user_text=self.user_text,
            params=self.params,
        )


@cache
def default_texts() -> dict[str, DefaultText]:
    """Every default, by slug (the file's name)."""
    return {path.stem: _read(path) for path in sorted(FOLDER.glob("*.toml"))}


def _read(path: Path) -> DefaultText:
    raw = tomllib.loads(path.read_text("utf-8"))
    agreed = contract(raw["contract"])
    return DefaultText(
        slug=path.stem,
        title=raw["title"],
        contract=agreed,
        note=raw["note"],
        system_text=raw["system"].strip(),
        user_text=raw["user"].strip(),
        params=agreed.defaults() | raw["params"],
    )
