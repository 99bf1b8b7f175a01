"""The pages in a real browser: navigation, addresses, colours, narrow windows, a run from start to verdict.

Pictures of every page are kept under `artefacts/screenshots/`.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
SHOTS = HERE / "artefacts" / "screenshots"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not Path(CHROMIUM).exists() and os.environ.get("STORELIFT_BROWSER") != "required",
        reason="there is no chromium: apt-get install chromium",
    ),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

PAGES = ("", "lift", "quality", "latency", "generalise", "live", "data", "compare", "start")
PROBES = ("/_stcore/host-config", "/_stcore/health")
"""Asked below the page's own address first, and found at the root."""
CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
PATIENCE = 300_000
"""Milliseconds that a page may take on a busy machine; nothing here says how fast it is."""
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Until what was changed is on the screen."""


class Server:
    """The dashboard as `storelift dashboard` opens it."""

    def __init__(self, root: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.said = root.parent / f"{root.name}-server.log"
        with self.said.open("wb") as said:
            command = ["-m", "experiment.cli", "dashboard", str(root), "--port", str(port), "--no-browser"]
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=root,
                stdout=said,
                stderr=said,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(600):
            try:
                with direct.open(f"{self.address}/_stcore/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        self.stop()
        raise AssertionError(self.said.read_text())

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)


@pytest.fixture(scope="module")
def server(shared):
    one = Server(shared.root)
    yield one
    one.stop()


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


class Watched:
    """A page, what it complains of and whom it asks."""

    def __init__(self, browser, server: Server, scheme: str = "light", width: int = 1400) -> None:
        self.context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        self.context.set_default_timeout(PATIENCE)
        self.page, self.server = self.context.new_page(), server
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "request", lambda r: self.hosts.add(r.url.split("/")[2]) if r.url.startswith("http") else None
        )

    def _console(self, message) -> None:
        probe = message.location.get("url", "").endswith(PROBES)
        if message.type == "error" and not probe:
            self.complaints.append(f"{message.text} {message.location}")

    def open(self, address: str) -> None:
        self.page.goto(f"{self.server.address}/{address}", wait_until="commit")
        self.settle()

    def settle(self) -> None:
        """Until the page has a title, its script has ended, and its parts and charts are drawn."""
        self.heading()
        self.page.locator('[data-test-script-state="notRunning"]').wait_for()
        self.page.wait_for_function("() => !document.querySelector('[data-testid=stSkeleton]')")
        for chart in self.page.get_by_test_id("stPlotlyChart").all():
            chart.locator(".main-svg").first.wait_for()

    def heading(self, title: str | None = None) -> None:
        """Until the page of that title is there."""
        name = {} if title is None else {"name": title, "exact": True}
        self.page.get_by_role("heading", level=1, **name).first.wait_for()

    def picture(self, name: str) -> None:
        """Keeps the whole page, as far as it goes."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        width = self.page.viewport_size["width"]
        high = self.page.get_by_test_id("stMain").evaluate("m => m.scrollHeight")
        self.page.set_viewport_size({"width": width, "height": min(max(900, high + 20), 4000)})
        self.page.evaluate(DRAWN)
        self.page.screenshot(path=SHOTS / f"{name}.png")
        self.page.set_viewport_size({"width": width, "height": 900})

    def close(self) -> None:
        self.context.close()
        assert self.complaints == []
        assert self.hosts <= {self.server.address.split("//")[1]}


@pytest.mark.parametrize(
    ("scheme", "width"),
    [
        ("light", 1400),
        ("dark", 480),
        pytest.param("dark", 1400, marks=pytest.mark.slow),
        pytest.param("light", 480, marks=pytest.mark.slow),
    ],
)
def test_every_page_in_light_and_dark_wide_and_narrow(chromium, server, scheme, width):
    watched = Watched(chromium, server, scheme, width)
    page = watched.page
    for name in PAGES:
        watched.open(f"{name}?run=done")
        assert page.get_by_test_id("stException").count() == 0, name
        wide, shown = page.get_by_test_id("stMain").evaluate("m => [m.scrollWidth, m.clientWidth]")
        assert wide <= shown + 1, f"{name} scrolls sideways"
        watched.picture(f"{name or 'overview'}-{scheme}-{width}")
        assert page.evaluate(CONTRAST) == [], name
    watched.close()


def test_the_pages_are_reached_by_their_links(chromium, server):
    watched = Watched(chromium, server)
    watched.open("?run=seed1")
    for link, title, path in (
        ("Lift", "Lift", "lift"),
        ("Memorise, generalise", "Memorise, generalise", "generalise"),
        ("Start", "Start an experiment", "start"),
    ):
        watched.page.get_by_role("link", name=link, exact=True).click()
        watched.heading(title)
        watched.page.wait_for_url(re.compile(rf"/{path}\?(.*&)?run=seed1"))
        watched.settle()
    watched.page.go_back()
    watched.heading("Memorise, generalise")
    watched.close()


def test_an_address_carries_what_was_chosen(chromium, server):
    from playwright.sync_api import expect

    watched = Watched(chromium, server)
    page = watched.page
    watched.open("lift?run=seed1&scale=absolute&level=99%25")
    page.locator(".runbar .name", has_text=re.compile("^seed1$")).wait_for()
    expect(page.get_by_role("radio", name="absolute", exact=True)).to_be_checked(timeout=PATIENCE)
    page.get_by_text("Difference, pp (fixed 99% interval)", exact=True).first.wait_for()
    page.get_by_text("daily", exact=True).click()
    page.wait_for_url(re.compile("over=daily"))
    watched.open("data?run=done&arm=Production&day=0")
    page.get_by_text("served by production", exact=False).first.wait_for()
    page.get_by_text("sim day 0", exact=False).first.wait_for()
    watched.close()


def test_charts_have_their_takeaway_as_a_name(chromium, server):
    watched = Watched(chromium, server)
    watched.open("lift?run=done")
    charts = watched.page.get_by_test_id("stPlotlyChart")
    charts.nth(3).locator("[aria-label], .main-svg").first.wait_for()
    names = [
        chart.get_attribute("aria-label") or chart.locator("[aria-label]").first.get_attribute("aria-label")
        for chart in charts.all()
    ]
    assert len(names) == 4
    assert all(names)
    assert "Wide & Deep" in names[0]
    watched.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(chromium, server, scheme):
    watched = Watched(chromium, server, scheme)
    for run in ("failed", "unbalanced", "torn", "early"):
        watched.open(f"?run={run}")
        watched.picture(f"overview-of-{run}-{scheme}")
        assert watched.page.evaluate(CONTRAST) == [], run
    watched.close()


def test_the_checks_open_by_keyboard(chromium, server):
    watched = Watched(chromium, server)
    watched.open("?run=done")
    page = watched.page
    page.locator(".health summary").first.focus()
    page.keyboard.press("Enter")
    page.get_by_text("Sample ratio: p", exact=False).first.wait_for()
    watched.close()


def test_the_report_comes_as_one_file(chromium, server):
    watched = Watched(chromium, server)
    watched.open("?run=done")
    with watched.page.expect_download(timeout=PATIENCE) as coming:
        watched.page.get_by_role("button", name="Report").click()
    page = Path(coming.value.path()).read_text("utf-8")
    assert coming.value.suggested_filename == "done.html"
    assert "Scorecard" in page
    assert 'src="http' not in page
    watched.close()


def test_a_hostile_name_is_only_text(chromium, server):
    watched = Watched(chromium, server)
    watched.page.on("dialog", lambda dialog: watched.complaints.append(dialog.message))
    for name in ("", "lift", "compare", "data"):
        watched.open(f"{name}?run=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
        assert watched.page.locator("img[src=x]").count() == 0
    watched.close()


def test_from_the_start_to_the_verdict(chromium, tmp_path):
    """What somebody does who has read nothing: start the smallest experiment, follow it, read who won."""
    root = tmp_path / "runs"
    root.mkdir()
    server = Server(root)
    try:
        watched = Watched(chromium, server)
        page = watched.page
        watched.open("")
        page.get_by_text("No run here yet").wait_for()
        page.get_by_role("link", name="Start an experiment").click()
        watched.heading("Start an experiment")
        page.get_by_role("textbox", name="Name of the run").fill("first")
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Start", exact=True).click()
        watched.heading("Live")
        page.locator(".state-running").wait_for()
        page.locator(".runbar .name", has_text="first").wait_for()
        page.get_by_text("Impressions", exact=True).first.wait_for()
        watched.picture("running-light-1400")
        page.locator(".state-done").wait_for(timeout=10 * PATIENCE)
        page.locator(".verdict h2").wait_for()
        page.get_by_role("link", name="The whole result").click()
        watched.heading("Overview")
        headline = page.locator(".verdict h2").inner_text()
        assert "Wide" in headline
        page.get_by_role("table", name="Scorecard").wait_for()
        watched.open("start?run=first")  # another one, beside the one that the address names
        page.get_by_role("textbox", name="Name of the run").fill("second")
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Start", exact=True).click()
        page.locator(".runbar .name", has_text="second").wait_for()
        page.wait_for_url(re.compile("run=second"))
        page.locator(".state-done").wait_for(timeout=10 * PATIENCE)
        watched.close()
    finally:
        server.stop()
    assert (root / "first" / "report.json").is_file()
