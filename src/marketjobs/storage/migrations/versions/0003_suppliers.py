"""Who supplied bars of an asset: a row instead of a search through its bars.

Revision: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bar_supplier",
        sa.Column("asset_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("provider_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["asset_id"], ["asset.id"]),
        sa.ForeignKeyConstraint(["provider_id"], ["provider.id"]),
        sa.PrimaryKeyConstraint("asset_id", "provider_id"),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO bar_supplier SELECT DISTINCT asset_id, provider_id FROM price_bar")
