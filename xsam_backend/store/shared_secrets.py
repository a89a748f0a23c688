"""Secrets that every service of one database must have alike, though nobody has set them."""

from __future__ import annotations

from sqlalchemy import Engine, select
from sqlalchemy.dialects import postgresql, sqlite

from xsam_backend.store.database import transaction
from xsam_backend.store.tables import SecretRow


def shared_secret(engine: Engine, name: str, proposed: str) -> str:
    """The secret of that name; ``proposed`` becomes it where there is none yet, and whoever comes first decides.

    Raises:
        StoreError: the database cannot be read or written.
    """
    insert = (postgresql if engine.dialect.name == "postgresql" else sqlite).insert(SecretRow)
    first = insert.values(name=name, value=proposed).on_conflict_do_nothing(index_elements=["name"])
    with transaction(engine, "the shared secrets") as session:
        session.execute(first)
        return session.scalars(select(SecretRow.value).where(SecretRow.name == name)).one()
