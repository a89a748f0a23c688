"""The demo's own folder: where everything lies, who uses it now, its login, and what it remembers."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from xsam_backend.errors import DemoError


@dataclass(frozen=True)
class Login:
    """The one user of the demo's Label Studio. ``token`` is a legacy one, the kind that can be chosen beforehand."""

    email: str
    password: str
    token: str

    @classmethod
    def invent(cls) -> Login:
        """A login that nobody can guess."""
        return cls("demo@example.com", secrets.token_urlsafe(9), secrets.token_hex(20))


@dataclass(frozen=True)
class Memory:
    """What the next start should know of this one; 0 for what there is none of yet."""

    label_studio_port: int = 0
    backend_port: int = 0
    project_id: int = 0


class DemoFolder:
    """Paths and small files below one folder.

    Raises:
        DemoError: the folder cannot be made or written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / "venv"
        self.photos = root / "photos"
        self.label_studio_data = root / "label-studio"
        self.backend_data = root / "backend"
        self.logs = root / "logs"
        self._login = root / "login.json"
        self._memory = root / "memory.json"
        self._in_use = root / "in-use"
        self._make()

    def _make(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for folder in (self.label_studio_data, self.backend_data, self.logs):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DemoError(
                f"the demo needs the folder {self.root} for itself and cannot make it: {error.strerror}; give "
                "another --data-dir"
            ) from None

    @contextmanager
    def used_by_us(self) -> Iterator[None]:
        """Inside, no other demo can use the folder. The lock ends with the process, however that ends.

        Raises:
            DemoError: another one does.
        """
        with self._in_use.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise DemoError(
                    f"a demo runs in {self.root} already (process {file.read().strip() or 'unknown'}): stop it with "
                    "Ctrl-C where it runs, or give this one another --data-dir"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def forget(self) -> None:
        """Remove the login, both databases and all pictures; what is installed stays."""
        for folder in (self.label_studio_data, self.backend_data, self.logs):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self._login, self._memory):
            file.unlink(missing_ok=True)
        self._make()

    def login(self) -> Login:
        """The login of this folder's Label Studio, made up at the first call; only this user may read the file.

        Raises:
            DemoError: the file is not what we wrote.
        """
        if not self._login.exists():
            login = Login.invent()
            self._write(self._login, asdict(login))
            return login
        try:
            return Login(**json.loads(self._login.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            raise DemoError(
                f"{self._login}: expected the login that an earlier demo wrote, got something else: start with "
                "--fresh, which forgets that demo's project and makes a new login"
            ) from None

    def remembered(self) -> Memory:
        """What :meth:`remember` was told last; the defaults where that can't be read."""
        try:
            return Memory(**{name: int(value) for name, value in json.loads(self._memory.read_text()).items()})
        except (OSError, ValueError, TypeError, AttributeError):
            return Memory()

    def remember(self, memory: Memory) -> None:
        """Keep this for the next start."""
        self._write(self._memory, asdict(memory))

    def _write(self, path: Path, content: dict[str, str | int]) -> None:
        """Whole or not at all, readable for us alone."""
        draft = path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=1)
        draft.replace(path)
