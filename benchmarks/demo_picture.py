"""A picture of the demo's page with answers on it: docs/demo.png.

R=runs/tiny-seed4
python benchmarks/demo_picture.py $R/lma/export $R/world/val/00000.mp4 "color of the first triangle" \\
    --teacher $R/pretrain-llm/export --similarity cosine --scale 20 --frames 32 --output docs/demo.png

Options that it does not know are given to `liteframe demo`. It needs the extra `demo`, playwright and a Chromium.
"""

from __future__ import annotations

import argparse
import shutil
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from servers import running

_WIDTH, _HEIGHT = 900, 700
_COLOURS = 96
"""Of the file, which makes it small."""
_PATIENCE_MS = 600_000


def take(address: str, video: Path, question: str, last: str, output: Path) -> None:
    """Asks on the page as a user does, and takes all of it when what comes last, by its selector, is there."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT}, color_scheme="light")
        page.set_default_timeout(_PATIENCE_MS)
        page.goto(address)
        page.locator("input[type=file]").first.set_input_files(video)
        page.locator("video").first.wait_for()
        page.get_by_label("Question").fill(question)
        page.get_by_role("button", name="Ask").click()
        page.locator(last).first.wait_for()
        picture = Image.open(BytesIO(page.screenshot(full_page=True))).convert("RGB")
    picture.quantize(_COLOURS).save(output, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("video", type=Path)
    parser.add_argument("question")
    parser.add_argument("--output", type=Path, required=True)
    options, others = parser.parse_known_args()
    words = ["liteframe", "demo", options.model, *others]
    with running(lambda port: [*words, "--port", str(port)], "/") as address:
        last = ".lf-weights img" if "--teacher" in others else ".lf-parts"
        take(address, options.video, options.question, last, options.output)


if __name__ == "__main__":
    main()
