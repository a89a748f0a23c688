"""``serve_fake.py`` whose workers only count (``work_fake.py``): python serve_counting.py PORT DATA_DIR"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fake_predictor import FakePredictor

from xsam_backend.config import Settings, load_settings
from xsam_backend.server import app, services, serving, worker_process

WORKER = [sys.executable, str(Path(__file__).with_name("work_fake.py"))]


def spawn(settings: Settings) -> subprocess.Popen[bytes]:
    command = [*WORKER, str(settings.data_dir), "40", "0.05", "once"]
    with (settings.data_dir / "workers.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


if __name__ == "__main__":
    port, data_dir = sys.argv[1:]
    worker_process.LOOK_EVERY_S = 0.2
    worker_process.FIRST_PAUSE_S = worker_process.LONGEST_PAUSE_S = 0.1
    services.spawn_worker = spawn  # type: ignore[attr-defined]
    serving.create_app = lambda settings: app.create_app(settings, FakePredictor())
    serving.serve(load_settings(port=int(port), data_dir=Path(data_dir)))
