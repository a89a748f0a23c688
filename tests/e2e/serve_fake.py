"""``serve`` with the fake predictor in place of a model: the same gunicorn, application and settings.

python serve_fake.py PORT DATA_DIR [SECONDS_PER_ANSWER]; other settings come from the environment.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fake_predictor import FakePredictor

from xsam_backend.config import load_settings
from xsam_backend.server import app, serving

if __name__ == "__main__":
    port, data_dir, *slow = sys.argv[1:]
    seconds = float(slow[0]) if slow else 0.0
    predictor = FakePredictor(before=lambda stage: time.sleep(seconds if stage == "answer" else 0))
    serving.create_app = lambda settings: app.create_app(settings, predictor)
    serving.serve(load_settings(port=int(port), data_dir=Path(data_dir)))
