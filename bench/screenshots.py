"""Takes the pictures of the documentation from the running product: `python bench/screenshots.py [NAME …]`.

Starts an installation of its own (embedded, the demo, a free port, a stand-in for the model), asks for recommendations as
the backend does, logs into the admin in Korean with Chromium and writes docs/screenshots/NAME.png. A new picture is one
more line in SHOTS.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.fake_model import FakeModel, Seen, good_answer, song_lines

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "screenshots"
MOST_BYTES = 300 * 1024
START_TIMEOUT_S = 240.0
DEMO_MEMBERS = range(1, 32)
#: Members who ask while a rollout is under way.
ROLLOUT_MEMBERS = range(32, 112)


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

    def ask_for(self, members: range) -> None:
        """Recommendations for these members, a few at a time."""
        with ThreadPoolExecutor(3) as several:
            list(several.map(lambda at: self.ask("/recommend", {"memberId": str(at)}), members))

    def log_in(self, page: Page) -> None:
        page.goto(f"{self.base}/admin/login/?next=/admin/")
        page.fill("#id_username", "admin")
        page.fill("#id_password", self.password)
        page.click("[type=submit]")
        page.wait_for_selector("#user-tools")
        page.evaluate("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")


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


# The prompt studio: every picture makes the draft it shows.
MISTAKES = "\n{{ taste }}에 맞게 밝은 곡을 앞에 둡니다. JSON으로 답하세요."
CHANGE = "\n밝은 곡을 앞에 둡니다."


def _draft(page: Page) -> None:
    """A new draft of the curation from what is live, on its editing page."""
    page.click("#result_list >> text=선곡")
    page.click("text=현재 배포에서 새 초안")


def _with_mistakes(page: Page, product: Product) -> None:
    _draft(page)
    system, user = page.locator("[name=system_text]"), page.locator("[name=user_text]")
    system.fill(system.input_value() + MISTAKES)
    user.fill(user.input_value().replace("{{ candidates }}", "{{ candidate }}"))
    page.wait_for_selector("#findings .error >> text=candidate")


def _changed(page: Page) -> None:
    """A draft that differs by a sentence, saved, on its preview page."""
    _draft(page)
    page.fill("[name=note]", "밝은 곡을 앞에 두어 첫 곡의 좋아요를 늘린다")
    system = page.locator("[name=system_text]")
    system.fill(system.input_value() + CHANGE)
    page.click("[name=_preview]")


def _tab(page: Page, name: str) -> None:
    page.click(f".tabs >> text={name}")


def _tried(page: Page, product: Product) -> None:
    _changed(page)
    page.fill("#id_member", "1")
    page.click("#content form button:has-text('미리보기')")
    page.click("text=실제 호출")
    page.wait_for_selector(".picks", timeout=60_000)


def _compared(page: Page, product: Product) -> None:
    _changed(page)
    _tab(page, "비교")


def _judged(page: Page, product: Product) -> None:
    """Tried on frozen runs, submitted, on the page that publishes."""
    _changed(page)
    version = page.url
    page.goto(f"{product.base}/admin/prompts/evalset/add/")
    page.select_option("[name=template]", label="선곡")
    page.fill("[name=title]", "가을 회원 30명")
    page.click("text=얼리기")
    page.goto(version)
    _tab(page, "평가")
    page.click("text=평가 시작")
    deadline = time.monotonic() + 120
    while not page.locator(".badge", has_text="합격").count():
        assert time.monotonic() < deadline, "the evaluation did not end"
        time.sleep(1)
        page.reload()
    _tab(page, "배포")
    page.click("button:has-text('제출')")


def _about_to_publish(page: Page, product: Product) -> None:
    _judged(page, product)
    page.fill("form:not([action]) [name=reason]", "평가 세트에서 합격, 첫 곡이 밝아짐")


def _rolled_out(page: Page, product: Product) -> None:
    _judged(page, product)
    form = page.locator("form[action$='/rollout/']")
    form.locator("[name=reason]").fill("절반의 회원에게 먼저")
    form.locator("[name=steps]").fill("50, 100")
    form.locator("[name=min_runs]").fill("20")
    form.locator("button").click()
    product.ask_for(ROLLOUT_MEMBERS)
    page.reload()


def liking(seen: Seen) -> str:
    """The stand-in's picks: they follow from the instructions and a song's artist, genre and mood, not its place or title."""
    answer = json.loads(good_answer(seen))
    if "picks" not in answer:
        counted = {
            name: re.findall(r"([^,:\n]+?) \d+(?:,|$)", line)
            for name, line in re.findall(r"^(장르|분위기|가수): (.*)$", seen.text, re.M)
        }
        for field, name in (("genres", "장르"), ("moods", "분위기"), ("artists", "가수")):
            answer[field] = [word.strip() for word in counted.get(name, [])[:3]]
        return json.dumps(answer, ensure_ascii=False)
    shown, told = song_lines(seen.text), seen.text.partition("회원의 취향:")[0]

    def rank(number: int) -> str:
        return hashlib.sha256((told + shown[number].partition(" / ")[2]).encode()).hexdigest()

    return json.dumps({"picks": sorted(shown, key=rank)[: len(answer["picks"])]})


PROMPTS = "/admin/prompts/prompttemplate/"

SHOTS = (
    Shot(name="index", url="/admin/", height=760),
    Shot(name="run", url=_run_of_a_demo_member, height=1900),
    Shot(name="profile", url=_profile_of_a_demo_member, height=900),
    Shot(name="songs", url="/admin/catalog/song/?q=%E3%85%87%E3%84%B9%E3%85%8B", height=640),
    Shot(name="schedules", url="/admin/django_celery_beat/periodictask/", height=640),
    Shot(name="edit", url=PROMPTS, prepare=_with_mistakes, height=1100),
    Shot(name="preview", url=PROMPTS, prepare=_tried, height=1500),
    Shot(name="compare", url=PROMPTS, prepare=_compared, height=1260),
    Shot(name="publish", url=PROMPTS, prepare=_about_to_publish, height=1420),
    Shot(name="rollout", url=PROMPTS, prepare=_rolled_out, height=760),
)


# --- How they are taken ---------------------------------------------------------------------------
@contextmanager
def installation() -> Iterator[Product]:
    """`make run` in an empty folder; everything it started is gone afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    password = secrets.token_urlsafe(12)
    with tempfile.TemporaryDirectory() as folder, FakeModel(delay_s=0.3, answer=liking) as model:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        settings = {"DATA_DIR": folder, "PORT": str(port), "SONGS_AI_ADMIN_PASSWORD": password}
        settings |= {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "stand-in"}
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
        page.on("dialog", lambda dialog: dialog.accept())  # leaving a form that was not saved
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
        product.ask_for(DEMO_MEMBERS)
        take(product, shots, options.folder)


if __name__ == "__main__":
    main()
