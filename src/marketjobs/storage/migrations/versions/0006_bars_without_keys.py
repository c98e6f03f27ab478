"""Bars in a SQLite file refer to asset and provider through `bar_supplier`, as they do on PostgreSQL.

Looking both up again for each row cost as much as writing it.  Whoever writes bars writes that row first, and there
both keys are checked.

Revision: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    bind = op.get_bind()
    if bind.dialect.name != "sqlite":
        return  # never had them
    # SQLite can't drop a constraint: the rows are copied, in the order of their key.
    view = bind.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'price_bar_v'").scalar_one()
    op.execute("DROP VIEW price_bar_v")
    op.rename_table("price_bar", "price_bar_before")
    op.create_table(
        "price_bar",
        sa.Column("asset_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("interval", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("ts", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("open", sa.Float(precision=53), nullable=False),
        sa.Column("high", sa.Float(precision=53), nullable=False),
        sa.Column("low", sa.Float(precision=53), nullable=False),
        sa.Column("close", sa.Float(precision=53), nullable=False),
        sa.Column("adj_close", sa.Float(precision=53), nullable=True),
        sa.Column("volume", sa.Float(precision=53), nullable=True),
        sa.Column("provider_id", sa.Integer(), nullable=False),
        sa.Column("provisional", sa.SmallInteger(), nullable=False),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("asset_id", "interval", "ts"),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO price_bar SELECT * FROM price_bar_before ORDER BY asset_id, interval, ts")
    op.drop_table("price_bar_before")
    bind.exec_driver_sql(view)
