"""Label Studio's labeling page in a headless Chromium, driven by what a person sees: labels, tools, the canvas.

Pages are looked into through the editor's own state (``window.Htx``), since regions are pixels of a canvas.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, sync_playwright

CHROMIUM_VARIABLE = "CHROMIUM_BIN"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZE = {"width": 1280, "height": 800}

_SUGGESTIONS = """() => Array.from(Htx.annotationStore.selected.suggestions.values())
    .flatMap((region) => region.results.map((result) => result.serialize()))"""
_REGIONS = "() => Htx.annotationStore.selected.serializeAnnotation()"

Region = dict[str, Any]


def find_chromium() -> str | None:
    """The browser that the environment names, or one on the path."""
    names = (os.environ.get(CHROMIUM_VARIABLE), *CHROMIUM_NAMES)
    return next((found for name in names if name and (found := shutil.which(name))), None)


class LabelingPage:
    """One task, open for labelling, with Auto-Annotation switched on."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        page.goto(address)
        page.get_by_text("Auto-Annotation", exact=True).wait_for()
        page.wait_for_function("() => window.Htx?.annotationStore.selected?.names.get('image')?.imageIsLoaded")
        page.wait_for_load_state("networkidle")  # the task is fetched twice, and what was done meanwhile is lost
        switch = page.get_by_test_id("bottombar-auto-annotation-toggle")
        if not switch.is_checked():
            page.get_by_text("Auto-Annotation", exact=True).click()

    def click(
        self, label: str, x_pct: float, y_pct: float, *, negative: bool = False, control: str = "click"
    ) -> None:
        """A click on the object of a control's label, in per cent of the picture; with Alt where it is negative."""
        self._choose("key-point-tool")
        self._label(control, label)
        if negative:
            self.page.keyboard.down("Alt")
        self.page.mouse.click(*self._at(x_pct, y_pct))
        if negative:
            self.page.keyboard.up("Alt")

    def box(
        self, label: str, x0_pct: float, y0_pct: float, x1_pct: float, y1_pct: float, *, control: str = "box"
    ) -> None:
        """A box drawn from corner to corner."""
        self._choose("rectangle-tool")
        self._label(control, label)
        self.page.mouse.move(*self._at(x0_pct, y0_pct))
        self.page.mouse.down()
        self.page.mouse.move(*self._at(x1_pct, y1_pct), steps=8)
        self.page.mouse.up()

    def phrase(self, words: str) -> None:
        """A phrase written into the text area, the first one of the page, with Enter."""
        box = self.page.get_by_test_id("textarea-input").first
        box.fill(words)
        box.press("Enter")

    def suggestions(self) -> list[Region]:
        """What the backend answered, once it's on the canvas; waits for it.

        Raises:
            playwright.sync_api.TimeoutError: nothing came.
        """
        self.page.wait_for_function("() => Htx.annotationStore.selected.suggestions.size > 0", timeout=120_000)
        found: list[Region] = self.page.evaluate(_SUGGESTIONS)
        return found

    def count_suggestions(self) -> int:
        """How many suggestions are on the canvas now."""
        return int(self.page.evaluate("() => Htx.annotationStore.selected.suggestions.size"))

    def clear(self) -> None:
        """Take away the regions that are there, such as pre-labels: a click on one chooses it and asks nothing.

        The page saves a draft some seconds later; until then the service doesn't know that they are gone.
        """
        self.page.evaluate(
            """async () => {
                const edited = Htx.annotationStore.selected;
                if (!edited.regions.length) return;
                edited.deleteAllRegions();
                await edited.saveDraftImmediatelyWithResults();
            }"""
        )

    @contextmanager
    def answered(self) -> Iterator[None]:
        """Inside, a prompt is given; leaves when the backend's answer to it has reached the page."""
        with self.page.expect_response(lambda response: "interactive-annotating" in response.url, timeout=120_000):
            yield
        self.page.wait_for_function("() => !Htx.awaitingSuggestions")
        self.page.wait_for_timeout(500)  # the editor takes suggestions in its own time, and says nothing of it

    def accept(self) -> None:
        """The green tick: all suggestions become regions, the prompts go."""
        self.page.get_by_test_id("bottombar-accept-suggestions-button").click()
        self.page.wait_for_function("() => Htx.annotationStore.selected.suggestions.size === 0")

    def regions(self) -> list[Region]:
        """The regions of the annotation as it's now, prompts included."""
        found: list[Region] = self.page.evaluate(_REGIONS)
        return found

    def submit(self) -> None:
        """Keep the annotation."""
        with self.page.expect_response(lambda response: response.url.partition("?")[0].endswith("/annotations")):
            self.page.get_by_test_id("bottombar-submit-button").click()

    def canvas(self) -> NDArray[np.uint8]:
        """uint8 (h, w, 3) RGB: the picture with everything that is drawn on it, in px of the page."""
        shot = self.page.locator(".konvajs-content").first.screenshot()
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))

    def screenshot(self, path: Path) -> None:
        """The page as it is seen."""
        self.page.screenshot(path=path)

    def _label(self, control: str, label: str) -> None:
        """Choose a label of one control; a second choice would take the first back."""
        groups = self.page.locator(".lsf-labels")
        names: Sequence[str] = self.page.evaluate(
            "() => Array.from(Htx.annotationStore.selected.names.values())"
            ".filter((tag) => tag.type.endsWith('labels')).map((tag) => tag.name)"
        )
        chip = groups.nth(names.index(control)).locator(".lsf-label", has_text=label)
        if "lsf-label_selected" not in (chip.get_attribute("class") or ""):
            chip.click()

    def _choose(self, tool: str) -> None:
        """Choose a smart tool: the pink one at the picture's edge opens to the left where there are several."""
        opener = self.page.locator(".lsf-tool_smart:not([aria-label])").first
        chosen = self.page.locator(f".lsf-tool_smart[aria-label='{tool}']").first
        if "lsf-tool_active" in (chosen.get_attribute("class") or ""):
            return
        opener.hover()
        chosen.click()

    def _at(self, x_pct: float, y_pct: float) -> tuple[float, float]:
        """A place of the picture, in px of the page."""
        # Zoomed like the picture, which may be larger than the canvas around it.
        whole = self.page.locator("canvas[class^=overlay]").first.bounding_box()
        assert whole is not None
        return whole["x"] + whole["width"] * x_pct / 100, whole["y"] + whole["height"] * y_pct / 100


@contextmanager
def signed_in(chromium: str, url: str, email: str, password: str) -> Iterator[Page]:
    """A page of a browser that is logged in to a Label Studio."""
    with sync_playwright() as playwright:
        # The sandbox needs user namespaces, which root and containers mostly lack; only our own pages are shown.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport=SIZE)
            page.set_default_timeout(120_000)
            page.goto(f"{url}/user/login/")
            page.fill("input[name=email]", email)
            page.fill("input[name=password]", password)
            page.click("button[type=submit]")
            page.wait_for_url(lambda address: "/user/login" not in address)
            yield page
        finally:
            browser.close()
