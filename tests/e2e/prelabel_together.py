"""``xsam-backend`` whose workers on Ray wait for each other: python prelabel_together.py prelabel ARGUMENTS...

No block is done before both of two processes have one in hand, so both do some. Each appends the blocks that it has
done to a file of its number in the folder TOGETHER. With STOP_AFTER a process that has done so many takes the next
one in hand and does nothing any more: whoever kills it then kills it in the middle.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xsam_backend.cli import main
from xsam_backend.prelabelling import folder_work
from xsam_backend.prelabelling.blocks import Block, Done
from xsam_backend.prelabelling.folder_work import FolderWork

LIMIT_S = 300
"""Of waits: nothing is left behind by a test that was ended."""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it has not come about")
        time.sleep(0.02)


@dataclass(frozen=True)
class TogetherWork(FolderWork):
    """Ray sends the class itself to its workers, as this file is no module there."""

    def opened(self) -> Callable[[Block], Done]:
        do = super().opened()
        folder, stop_after = Path(os.environ["TOGETHER"]), int(os.environ.get("STOP_AFTER", "1000"))
        mine = folder / str(os.getpid())
        done: list[int] = []

        def together(block: Block) -> Done:
            mine.touch()
            wait_until(lambda: len(list(folder.iterdir())) == 2)
            if len(done) == stop_after:
                wait_until(lambda: False)
            found = do(block)
            done.append(block.number)
            mine.write_text("\n".join(map(str, done)))
            return found

        return together


if __name__ == "__main__":
    folder_work.FolderWork = TogetherWork  # type: ignore[misc]
    main()
