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
def running(preset: str, path: Path) -> Iterator[None]:
    """An experiment that works on the run folder `path`, stopped in the end."""
    process = subprocess.Popen([*STORELIFT, "run", "--preset", preset, "--out", str(path), "--quiet"])
    try:
        while process.poll() is None and not (path / "status.json").exists():
            time.sleep(0.2)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def keep(page: Any, address: str, out: Path, until: str | None = None) -> None:
    """Keeps the page at `address` as `out`, once it says `until` and is drawn."""
    page.goto(address, wait_until="commit")
    page.get_by_role("heading", level=1).first.wait_for()
    if until is not None:
        page.get_by_text(until, exact=True).first.wait_for(timeout=20 * PATIENCE)
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
            keep(page, f"{address}/", asked.out / "overview.png")
            keep(page, f"{address}/lift", asked.out / "lift.png")
        if asked.live is not None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"{asked.live}-now"
                days = _days(asked.live)
                with running(asked.live, path), dashboard(path) as address:
                    until = f"day {max(1, days - 2)} of {days}"
                    keep(page, f"{address}/live", asked.out / "live.png", until)
        browser.close()


def _days(preset: str) -> int:
    from experiment.loading import load

    return load(preset).experiment.days


if __name__ == "__main__":
    main()
