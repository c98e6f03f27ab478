"""A job is entered only into the indexes that it can be found by, and a request by the end of its id too.

Revision: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_job_finished", table_name="job")
    op.drop_index("ux_job_join", table_name="job")
    joins = "join_key IS NOT NULL AND state IN ('queued', 'waiting', 'running')"
    for name, columns, unique, where in (
        ("ix_job_finished", ["finished_at", "queue", "state"], False, "finished_at IS NOT NULL"),
        ("ux_job_join", ["join_key"], True, joins),
        ("ix_job_tail", [sa.text("substr(id, length(id) - 7)")], False, "parent_id IS NULL"),
    ):
        condition = sa.text(where)
        op.create_index(name, "job", columns, unique=unique, sqlite_where=condition, postgresql_where=condition)
