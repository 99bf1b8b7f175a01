"""Pictures for the docs out of a page that a command wrote.

    python tools/figures.py PAGE.html OUT.png [--figures N …] [--width PX]

The page's figures of those places, the first by default, stand below each other. Needs chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path

from PIL import Image


def main() -> None:
    """Opens the page, takes its figures, keeps them as one picture."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path, metavar="PAGE.html")
    parser.add_argument("out", type=Path, metavar="OUT.png")
    parser.add_argument("--figures", type=int, nargs="+", default=[1], metavar="N", help="from 1 on")
    parser.add_argument("--width", type=int, default=1180, metavar="PX", help="of the page")
    asked = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_context(
            color_scheme="light", viewport={"width": asked.width, "height": 800}, device_scale_factor=1.5
        ).new_page()
        page.goto(asked.page.absolute().as_uri())
        page.wait_for_timeout(1000)  # plotly draws in turns
        plots = page.locator("figure .js-plotly-plot")
        taken = [plots.nth(place - 1).screenshot() for place in asked.figures]
        browser.close()
    shots = [Image.open(io.BytesIO(one)).convert("RGB") for one in taken]
    whole = Image.new("RGB", (max(s.width for s in shots), sum(s.height for s in shots)), "white")
    top = 0
    for shot in shots:
        whole.paste(shot, (0, top))
        top += shot.height
    whole.quantize(128).save(asked.out, optimize=True)
    sys.stdout.write(f"{asked.out}\n")


if __name__ == "__main__":
    main()
