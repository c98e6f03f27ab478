"""Calls of a weight, of which the last few are found by their instant; what a key is held for; circuit breakers.

Revision: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_provider_budget_use_grant", table_name="provider_budget_use")
    op.add_column("provider_budget_use", sa.Column("weight", sa.BigInteger(), server_default="1", nullable=False))
    op.add_column("provider_budget", sa.Column("blocked_cause", sa.Text(), nullable=True))
    op.create_index("ix_provider_budget_use_ts", "provider_budget_use", ["key", "ts", "number"])
    op.create_table(
        "provider_breaker",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("failed_at", sa.Float(53), nullable=False),
        sa.Column("opened", sa.BigInteger(), nullable=False),
        sa.Column("open_until", sa.Float(53), nullable=False),
        sa.Column("probe_until", sa.Float(53), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("provider"),
    )
