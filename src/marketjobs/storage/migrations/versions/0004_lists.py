"""Indexes that a list of jobs is read off: without them SQLite sorted a million finished ones.

Revision: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_job_parent", table_name="job")
    where = sa.text("parent_id IS NOT NULL")
    op.create_index(
        "ix_job_parent", "job", ["parent_id", "state"], unique=False, sqlite_where=where, postgresql_where=where
    )
    op.create_index("ix_job_state", "job", ["state", "submitted_at"], unique=False)
