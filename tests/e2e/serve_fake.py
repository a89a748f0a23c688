"""``serve`` with a predictor without a model: the same gunicorn, application and settings.

python serve_fake.py PORT DATA_DIR [SECONDS_PER_ANSWER [seeing]]; other settings come from the environment. Unless it
sees what is painted (``seeing_predictor``), it answers with the fake predictor.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fake_predictor import FakePredictor
from seeing_predictor import SeeingPredictor

from xsam_backend.config import load_settings
from xsam_backend.server import app, serving

if __name__ == "__main__":
    port, data_dir, *slow = sys.argv[1:]
    seconds = float(slow[0]) if slow else 0.0
    kind = SeeingPredictor if "seeing" in slow else FakePredictor
    predictor = kind(before=lambda stage: time.sleep(seconds if stage == "answer" else 0))
    serving.create_app = lambda settings: app.create_app(settings, predictor)
    serving.serve(load_settings(port=int(port), data_dir=Path(data_dir)))
