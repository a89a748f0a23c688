"""One ``prelabel`` of a folder, whose workers note when they were ready and when each of their blocks was done.

python -m benchmarks.measured_prelabel PICTURES OUTPUT NOTES WORKERS

Nobody begins before all are ready, so that start and work can be told apart. A worker's notes are a file of its
process's number in the folder NOTES: lines of a Unix time and how many pictures were answered, the first one with 0.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xsam_backend.config import load_settings
from xsam_backend.prelabelling.blocks import Block, Done
from xsam_backend.prelabelling.engines import run
from xsam_backend.prelabelling.folder_work import LOCAL_FILES, FolderWork

BLOCK = 10
DEVICE = "cpu"
CONFIG = """<View><Image name="image" value="$image"/>
<PolygonLabels name="polygon" toName="image"><Label value="circle"/><Label value="square"/><Label value="star"/>
<Label value="triangle"/><Label value="ring"/></PolygonLabels></View>"""


@dataclass(frozen=True)
class MeasuredWork(FolderWork):
    """Ray sends the class itself to its workers, as this module is the program.

    Attributes:
        notes: the folder of the workers' notes.
        workers: so many begin together.
    """

    notes: str = ""
    workers: int = 1

    def opened(self) -> Callable[[Block], Done]:
        """See :class:`~xsam_backend.prelabelling.blocks.Work`."""
        do = super().opened()
        folder = Path(self.notes)
        mine = folder / str(os.getpid())

        def note(answered: int) -> None:
            with mine.open("a") as file:
                file.write(f"{time.time()} {answered}\n")

        def measured(block: Block) -> Done:
            while len(list(folder.iterdir())) < self.workers:
                time.sleep(0.01)
            done = do(block)
            note(done.answered)
            return done

        note(0)
        return measured


def main(pictures: str, output: str, notes: str, workers: str) -> None:
    """See the module's words."""
    settings = load_settings(device=DEVICE, data_dir=Path(output) / "data")
    source, target = f"file://{pictures}", f"file://{output}"
    work = MeasuredWork(settings, None, CONFIG, source, target, LOCAL_FILES, notes, int(workers))
    for _ in run(work, work.blocks(BLOCK)[0], int(workers), DEVICE):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
