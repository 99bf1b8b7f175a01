"""The README's pictures, from real runs: `python tools/pictures.py RUN [--live PRESET] [--out FOLDER]`.

Opens the dashboard on the run folder RUN and keeps its pages Overview and Lift: `overview.png`, `lift.png`.
With `--live` an experiment of that preset is started in a temporary folder, and its page Live is kept as
`live.png` when most of its days are finished. Needs chromium: `apt-get install chromium`.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 1400, 1180
PATIENCE = 300_000
"""Milliseconds that a page may take."""

STORELIFT = [sys.executable, "-m", "experiment.cli"]


@contextlib.contextmanager
def dashboard(root: Path) -> Iterator[str]:
    """The address of a dashboard on `root`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [*STORELIFT, "dashboard", str(root), "--port", str(port), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def running(preset: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An experiment that works on the run folder `path`, stopped in the end."""
    process = subprocess.Popen([*STORELIFT, "run", "--preset", preset, "--out", str(path), "--quiet"])
    try:
        while process.poll() is None and not (path / "status.json").exists():
            time.sleep(0.2)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def follow(page: Any, address: str, process: subprocess.Popen[bytes], until: str) -> None:
    """Watches the page at `address` until it says `until`, or the experiment is over."""
    page.goto(address, wait_until="commit")
    while page.get_by_text(until, exact=True).count() == 0:
        if process.poll() is not None:
            raise SystemExit(f"the experiment was over before its page said {until!r}: take a longer preset")
        page.wait_for_timeout(100)


def keep(page: Any, out: Path) -> None:
    """Keeps the page as `out`, once it is drawn."""
    page.get_by_role("heading", level=1).first.wait_for()
    page.locator('[data-test-script-state="notRunning"]').wait_for()
    page.wait_for_function("() => !document.querySelector('[data-testid=stSkeleton]')")
    for chart in page.get_by_test_id("stPlotlyChart").all():
        chart.locator(".main-svg").first.wait_for()
    page.wait_for_timeout(1000)  # lines are drawn with a transition
    page.screenshot(path=out)
    with Image.open(out) as shot:  # a page has few colours: half the bytes
        shot.convert("RGB").quantize(256).save(out, optimize=True)
    sys.stdout.write(f"{out}\n")


def main() -> None:
    """Opens, waits, keeps."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a finished run folder")
    parser.add_argument(
        "--live", metavar="PRESET", help="also start an experiment, and keep how it is followed"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/images"), metavar="FOLDER")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        context = browser.new_context(color_scheme="light", viewport={"width": WIDTH, "height": HEIGHT})
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        with dashboard(asked.run.absolute()) as address:
            for place, name in (("", "overview"), ("lift", "lift")):
                page.goto(f"{address}/{place}", wait_until="commit")
                keep(page, asked.out / f"{name}.png")
        if asked.live is not None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"{asked.live}-now"
                days = _days(asked.live)
                with running(asked.live, path) as process, dashboard(path) as address:
                    follow(page, f"{address}/live", process, f"day {max(1, days - 2)} of {days}")
                    keep(page, asked.out / "live.png")
        browser.close()


def _days(preset: str) -> int:
    from experiment.loading import load

    return load(preset).experiment.days


if __name__ == "__main__":
    main()
