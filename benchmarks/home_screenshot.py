"""A screenshot of the service's own page, `/`: projects, versions with their curves, before and after, the job.

python -m benchmarks.home_screenshot DATA_DIR --output docs/home.png

The service is started on that data folder for it. Needs Chromium and the requirements in requirements-dev.txt.
"""

from __future__ import annotations

from pathlib import Path

import click
from playwright.sync_api import sync_playwright

from benchmarks.labeling_page import find_chromium
from benchmarks.screenshots import keep
from benchmarks.servers import serving

WIDTH, HEIGHT = 1100, 700


@click.command(help=__doc__)
@click.argument("data_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="A PNG file.")
def main(data_dir: Path, output: Path) -> None:
    """See the module's words."""
    chromium = find_chromium()
    if chromium is None:
        raise click.ClickException("no Chromium here: install one (Debian: apt install chromium)")
    log = output.with_suffix(".log")
    with serving(data_dir, log) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(f"{address}/")
        page.wait_for_load_state("networkidle")
        keep(page.screenshot(full_page=True), output)
        browser.close()
    log.unlink()


if __name__ == "__main__":
    main()
