"""The page: whole in one file, valid, escaped, and with words for every picture."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from results_made import confusion, evaluation

from xsam_backend.evaluation.report.as_html import MOST_LABELS, matrix, to_html

VOID = {"meta", "img", "br", "circle", "path", "link", "input"}


class Page(HTMLParser):
    """Which elements there are, with their attributes; fails where they are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_everything_is_on_the_page() -> None:
    words = " ".join(Page(to_html(evaluation(), "2026-01-02")).words.split())
    for expected in (
        "Evaluation of tiny-1234",
        "40 queries; seed 3; intervals hold 95 % of 1000 bootstrap draws",
        "2026-01-02",
        "photos, split val",
        "49 pictures, 1 could not be read",
        "outlines filled as COCO fills them",
        "b.jpg: damaged",
        "c.jpg (gcg): too many words",
        "0.712",
        "0.65–0.77",
        "4.30",
        "score threshold0.30",
        "Class by class",
        "What a threshold does",
        "Shown, not used.",
        "worst, IoU 0.25",
        "a.jpg: cat",
        "truth: 1 cat",
        "answer: nothing",
        "Grey rows are controls",
        "The best, the worst and random ones of all that were asked.",
    ):
        assert expected in words, expected
    assert "Partial" not in words
    assert "nan" not in words.split()


def test_a_stopped_run_says_so() -> None:
    words = Page(to_html(evaluation(is_partial=True))).words
    assert "Partial: not all pictures were measured" in words
    assert "stopped after 8" in words


def test_one_file_without_scripts_or_anything_from_elsewhere() -> None:
    text = to_html(evaluation())
    page = Page(text)
    assert not page.all("script")
    assert not page.all("link")
    assert "http" not in text
    assert "url(" not in text
    sources = [image["src"] for image in page.all("img")]
    assert len(sources) == 2
    assert all(source and source.startswith("data:image/jpeg;base64,") for source in sources)


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}&amp;"


@pytest.mark.parametrize("where", ["name", "dataset", "reason"])
def test_hostile_names_are_words(where: str) -> None:
    """File names, labels and messages come from whoever made the data."""
    plain, hostile = (Page(to_html(evaluation(**{where: text}))) for text in ("harmless", HOSTILE))
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in plain.found], "no element comes or goes"
    assert [sorted(attributes) for _, attributes in hostile.found] == [
        sorted(attributes) for _, attributes in plain.found
    ], "no attribute either"
    assert HOSTILE in hostile.words


def test_it_can_be_read_without_seeing() -> None:
    page = Page(to_html(evaluation()))
    assert page.all("html")[0]["lang"] == "en"
    assert [image["alt"] for image in page.all("img")] == ["Truth: 1 cat", "Answer: nothing"]
    charts = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert [svg["aria-label"] for svg in charts] == ["What a threshold does: share over score threshold"]
    assert all(svg.get("aria-hidden") == "true" for svg in page.all("svg") if svg not in charts)
    assert all(header.get("scope") in ("row", "col") for header in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.found if attributes.get("id")]
    assert len(ids) == len(set(ids))
    named = [table["aria-labelledby"] for table in page.all("table") if "aria-labelledby" in table]
    assert len(page.all("caption")) + len(named) == len(page.all("table"))
    assert {link["href"] for link in page.all("a")} == {f"#{name}" for name in set(ids) - set(named)}


def test_colours_follow_the_readers_wish_and_lines_differ_by_more_than_colour() -> None:
    text = to_html(evaluation())
    assert "prefers-color-scheme: dark" in text
    assert len(re.findall(r"\.s[12] \{ stroke: [^}]*stroke-dasharray", text)) == 2


def test_a_line_has_a_gap_where_there_is_no_value() -> None:
    page = Page(to_html(evaluation()))
    lines = [path["d"] or "" for path in page.all("path") if (path.get("class") or "").startswith("line")]
    assert sum(line.count("M") for line in lines) >= 3
    assert not any("nan" in line for line in lines)


def test_the_matrix_says_what_was_missed_and_invented() -> None:
    shown = matrix(confusion())
    assert shown.labels == ("cat", "dog")
    assert [[cell.count for cell in row] for row in shown.rows] == [[5, 2, 0], [0, 0, 1], [3, 0, 0]]
    assert shown.rows[0][0].share == pytest.approx(5 / 7)
    assert shown.left_out == 0


def test_of_many_labels_the_most_frequent_are_shown() -> None:
    counted = confusion()
    counted.counts.update({(f"rare {number}", f"rare {number}"): 1 for number in range(30)})
    shown = matrix(counted)
    assert len(shown.labels) == MOST_LABELS
    assert shown.labels[:2] == ("cat", "dog")
    assert shown.left_out == 32 - MOST_LABELS
