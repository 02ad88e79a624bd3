"""Take `docs/report.png`: the report of the demo, a table open and the records behind one of its rows.

Usage, after `make demo`: python docs/screenshot.py [results/report/demo.html]
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

TABLE, ROW = "Main table on BSDS500, single scale (main_bsds)", "MEMO, 10 steps"


def main() -> None:
    """Open the report, click to the records, and write the picture in few colours."""
    report = Path(sys.argv[1] if len(sys.argv) > 1 else "results/report/demo.html").resolve()
    browser_path = os.environ.get("EDGEBENCH_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_context(offline=True, viewport={"width": 1700, "height": 900}).new_page()
        page.goto(report.as_uri())
        page.locator(".prose").get_by_role("link", name=TABLE).click()
        page.frame_locator("iframe").get_by_role("link", name=ROW, exact=True).click()
        page.frame_locator("iframe").locator(".record:visible").wait_for()
        page.wait_for_timeout(500)  # the list on the left slides in
        taken = page.screenshot()
        browser.close()
    with Image.open(io.BytesIO(taken)) as picture:
        picture.convert("RGB").quantize(128).save(Path(__file__).with_name("report.png"), optimize=True)


if __name__ == "__main__":
    main()
