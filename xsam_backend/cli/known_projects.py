"""Projects as people name them: by number in Label Studio, with the second of creation where that isn't enough."""

from __future__ import annotations

from collections.abc import Collection

from xsam_backend.errors import SettingsError
from xsam_backend.store.projects import ProjectKey


def known_project(uid: str, instance: str, known: Collection[str]) -> ProjectKey:
    """The project that ``uid`` names: ``21`` of those known, or ``21.1795347497``, known or not, or a known key.

    Args:
        known: keys of projects.

    Raises:
        SettingsError: none or several known ones have that number.
        RequestError: it has another form.
    """
    if uid in known:
        return ProjectKey.parse(uid)
    if not (uid.isascii() and uid.isdecimal()):
        return ProjectKey.from_uid(instance, uid)
    fitting = [key for key in known if ProjectKey.parse(key).project_id == int(uid)]
    if len(fitting) != 1:
        raise SettingsError(
            f"project {uid}: expected the number of one known project ({', '.join(known) or 'none is known'}), "
            f"{len(fitting)} have it: write <number>.<creation second>"
        )
    return ProjectKey.parse(fitting[0])
