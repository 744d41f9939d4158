"""Takes the pictures of the documentation from the running product: `python bench/screenshots.py [NAME …]`.

Starts an installation of its own (embedded, the demo, a free port), asks for recommendations as the backend does, logs
into the admin in Korean with Chromium and writes docs/screenshots/NAME.png. A new picture is one more line in SHOTS.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "screenshots"
MOST_BYTES = 300 * 1024
START_TIMEOUT_S = 240.0
DEMO_MEMBERS = range(1, 13)


@dataclass(frozen=True)
class Product:
    """A running installation, as a caller and as staff see it."""

    base: str
    password: str

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST as the backend does."""
        request = urllib.request.Request(
            self.base + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def log_in(self, page: Page) -> None:
        page.goto(f"{self.base}/admin/login/?next=/admin/")
        page.fill("#id_username", "admin")
        page.fill("#id_password", self.password)
        page.click("[type=submit]")
        page.wait_for_selector("#user-tools")


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One picture: where it is taken, what is done there first, and how much of it is shown."""

    name: str
    #: A path, or what finds it (and makes what the page shows).
    url: str | Callable[[Product], str]
    #: What a person would do on the page before looking: open, fill in, press, scroll.
    prepare: Callable[[Page, Product], None] = lambda page, product: None
    width: int = 1280
    height: int = 860


# --- The pictures ---------------------------------------------------------------------------------
def _run_of_a_demo_member(product: Product) -> str:
    answer = product.ask("/recommend", {"memberId": "1", "strategy": "deep"})
    return f"/admin/recommendations/run/{answer['run_id']}/change/"


def _profile_of_a_demo_member(product: Product) -> str:
    product.ask("/recommend", {"memberId": "2"})
    return "/admin/profiles/tasteprofile/of/2/"


SHOTS = (
    Shot(name="index", url="/admin/", height=760),
    Shot(name="run", url=_run_of_a_demo_member, height=1000),
    Shot(name="profile", url=_profile_of_a_demo_member, height=900),
    Shot(name="songs", url="/admin/catalog/song/?q=%E3%85%87%E3%84%B9%E3%85%8B", height=640),
    Shot(name="schedules", url="/admin/django_celery_beat/periodictask/", height=640),
)


# --- How they are taken ---------------------------------------------------------------------------
@contextmanager
def installation() -> Iterator[Product]:
    """`make run` in an empty folder; everything it started is gone afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    password = secrets.token_urlsafe(12)
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        settings = {"DATA_DIR": folder, "PORT": str(port), "SONGS_AI_ADMIN_PASSWORD": password}
        process = subprocess.Popen(
            [sys.executable, "manage.py", "run_all"],
            cwd=ROOT,
            env=kept | settings,
            stdout=subprocess.DEVNULL,
        )
        try:
            product = Product(base=f"http://127.0.0.1:{port}", password=password)
            _wait_for(product, process)
            yield product
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _wait_for(product: Product, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit("The installation did not start; see above.")
        try:
            product.ask("/recommend", {"memberId": "1"})
        except OSError:
            time.sleep(1)
        else:
            return
    sys.exit(f"The installation did not answer within {START_TIMEOUT_S:g} s.")


def take(product: Product, shots: list[Shot], folder: Path) -> None:
    """Write one PNG per shot; one that is too big for the repository ends the program."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        context = browser.new_context(locale="ko-KR", timezone_id="Asia/Seoul")
        page = context.new_page()
        product.log_in(page)
        for shot in shots:
            path = shot.url if isinstance(shot.url, str) else shot.url(product)
            page.set_viewport_size({"width": shot.width, "height": shot.height})
            page.goto(product.base + path, wait_until="networkidle")
            shot.prepare(page, product)
            file = folder / f"{shot.name}.png"
            page.screenshot(path=file)
            size = file.stat().st_size
            print(f"{shot.name}.png  {size / 1024:.0f} KiB  {path}")
            if size > MOST_BYTES:
                sys.exit(f"{file} is larger than {MOST_BYTES // 1024} KiB: show less of the page.")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--base", help="a running installation instead of one of its own")
    parser.add_argument("--password", default="", help="of its account `admin`")
    options = parser.parse_args()
    known = {shot.name: shot for shot in SHOTS}
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"no such picture: {', '.join(unknown)}. There are {', '.join(known)}.")
    shots = [known[name] for name in options.names or known]
    if options.base:
        take(
            Product(base=options.base.rstrip("/"), password=options.password), shots, options.folder
        )
        return
    with installation() as product:
        for member in DEMO_MEMBERS:
            product.ask("/recommend", {"memberId": str(member)})
        take(product, shots, options.folder)


if __name__ == "__main__":
    main()
