"""Indexes that finished jobs are forgotten by: a slice is found at their beginning, however many there are.

Revision: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, columns, where in (
        ("ix_job_ended", ["finished_at"], "parent_id IS NULL AND finished_at IS NOT NULL AND state <> 'dead'"),
        ("ix_job_dead", ["state", "finished_at"], "parent_id IS NULL AND state = 'dead'"),
    ):
        condition = sa.text(where)
        op.create_index(name, "job", columns, unique=False, sqlite_where=condition, postgresql_where=condition)
