"""A worker whose jobs only count: python work_fake.py DATA_DIR STEPS SECONDS_PER_STEP [once]

Each job counts in DATA_DIR/counted/ID, and a try goes on from there, as a training does from its last state.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from xsam_backend.config import load_settings
from xsam_backend.errors import JobError
from xsam_backend.learning.jobs import Progress, work
from xsam_backend.learning.worker_places import held_place
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.jobs import Job, Jobs, Worker

if __name__ == "__main__":
    data_dir, steps, step_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    logging.basicConfig(level=logging.INFO)

    def count(job: Job, progress: Progress) -> Mapping[str, Any]:
        counted = data_dir / "counted" / str(job.id)
        counted.parent.mkdir(exist_ok=True)
        start = len(counted.read_text().split()) if counted.exists() else 0
        for step in range(start, steps):
            progress("counting", step, steps)
            time.sleep(step_s)
            with counted.open("a") as file:
                file.write(f"{step}\n")
        progress("promoting")
        return {"counted": steps}

    try:
        with held_place(data_dir / "jobs", "cpu") as place:
            shared_url = load_settings(data_dir=data_dir).shared_database_url
            jobs = Jobs(open_database(database_url("store", data_dir, shared_url), "store"), tries=1000)
            worker = Worker(place, platform.node(), os.getpid(), datetime.now(timezone.utc))
            work(jobs, count, worker, data_dir / "jobs", once="once" in sys.argv)
    except JobError as error:
        sys.exit(str(error))
