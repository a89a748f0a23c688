"""Results as Markdown: every number of the JSON, where its column is, but no table of single classes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from results_made import evaluation

from benchmarks.tables import main
from xsam_backend.evaluation.report.as_json import to_json

EXPECTED = """\
tiny-1234, 40 queries, seed 3; in brackets what 95% of 1000 bootstrap draws of pictures gave.

### photos, split val

49 pictures; outlines filled as COCO fills them; 12 s.

**Interactive segmentation.** queries of the model: 40; score threshold: 0.300; rule: at random.

| Masks | objects | mIoU | NoC85 |
| --- | --- | --- | --- |
| cat | 12 | 0.712 (0.650–0.770) | 4.301 (3.000–6.250) |
| guess: a box | 12 |  |  |
"""


def test_markdown(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(to_json(evaluation())))
    result = CliRunner().invoke(main, [str(path)], catch_exceptions=False)
    assert result.output == EXPECTED


@pytest.mark.parametrize(
    "content",
    [{"format": "coco"}, {"format": "xsam-backend evaluation", "format_version": 2}],
    ids=["other", "newer"],
)
def test_other_files_are_refused(tmp_path: Path, content: dict) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    result = CliRunner().invoke(main, [str(path)])
    assert result.exit_code == 1
    assert "expected what evaluate --json writes, version 1" in result.output
