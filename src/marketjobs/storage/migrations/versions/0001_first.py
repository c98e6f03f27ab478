"""The first schema: assets, bars, corporate actions, the ledger, workers, budgets, and the view for people.

Revision: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INTERVALS = {
    1: "1m", 2: "2m", 3: "5m", 4: "15m", 5: "30m", 6: "60m", 7: "90m", 8: "1h",
    20: "1d", 21: "5d", 22: "1wk", 23: "1mo",
}  # fmt: skip
VIEW = """
CREATE VIEW price_bar_v AS
SELECT asset.symbol AS symbol,
       CASE bar.interval {intervals} END AS interval,
       {ts} AS ts,
       {session} AS session,
       bar.open AS open, bar.high AS high, bar.low AS low, bar.close AS close,
       bar.adj_close AS adj_close, bar.volume AS volume,
       provider.name AS provider, {provisional} AS provisional,
       {fetched_at} AS fetched_at
FROM price_bar AS bar
JOIN asset ON asset.id = bar.asset_id
JOIN provider ON provider.id = bar.provider_id
"""
INSTANTS = {
    "sqlite": {
        "ts": "strftime('%Y-%m-%dT%H:%M:%SZ', bar.ts, 'unixepoch')",
        "session": "strftime('%Y-%m-%d', bar.ts, 'unixepoch')",
        "provisional": "bar.provisional",
        "fetched_at": "strftime('%Y-%m-%dT%H:%M:%SZ', bar.fetched_at, 'unixepoch')",
    },
    "postgresql": {
        "ts": "to_timestamp(bar.ts)",
        "session": "(to_timestamp(bar.ts) AT TIME ZONE 'UTC')::date",
        "provisional": "bar.provisional = 1",
        "fetched_at": "to_timestamp(bar.fetched_at)",
    },
}


def price_bar_keys() -> list[sa.ForeignKeyConstraint]:
    """PostgreSQL checks a foreign key row by row with a query each, which doubles the cost of a bulk write: there the
    writer locks the asset's row instead."""
    if op.get_bind().dialect.name == "postgresql":
        return []
    return [
        sa.ForeignKeyConstraint(["asset_id"], ["asset.id"]),
        sa.ForeignKeyConstraint(["provider_id"], ["provider.id"]),
    ]


def upgrade() -> None:
    op.create_table(
        "asset",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("asset_class", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("exchange", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("symbol"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "job",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("join_key", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("max_attempts", sa.SmallInteger(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("submitted_at", sa.Float(precision=53), nullable=False),
        sa.Column("run_at", sa.Float(precision=53), nullable=False),
        sa.Column("started_at", sa.Float(precision=53), nullable=True),
        sa.Column("finished_at", sa.Float(precision=53), nullable=True),
        sa.Column("lease_until", sa.Float(precision=53), nullable=True),
        sa.Column("claimed_at", sa.Float(precision=53), nullable=True),
        sa.Column("published_at", sa.Float(precision=53), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("cancel_requested", sa.SmallInteger(), nullable=False),
        sa.Column("progress", sa.Float(precision=53), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("waits_for", sa.Text(), nullable=True),
        sa.Column("outcomes", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error_cause", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_job_due", "job", ["state", "run_at"], unique=False)
    op.create_index("ix_job_parent", "job", ["parent_id", "state"], unique=False)
    op.create_index("ix_job_finished", "job", ["finished_at", "queue", "state"], unique=False)
    for name, columns, where in (
        ("ix_job_top", ["submitted_at", "id"], "parent_id IS NULL"),
        ("ix_job_unsent", ["priority", "run_at"], "published_at IS NULL AND state IN ('queued', 'waiting')"),
        ("ix_job_parents", ["id"], "waits_for = 'children'"),
    ):
        condition = sa.text(where)
        op.create_index(name, "job", columns, unique=False, sqlite_where=condition, postgresql_where=condition)
    op.create_index("ix_job_submitted", "job", ["submitted_at"], unique=False)
    op.create_index(
        "ux_job_join",
        "job",
        ["join_key"],
        unique=True,
        sqlite_where=sa.text("state IN ('queued', 'waiting', 'running')"),
        postgresql_where=sa.text("state IN ('queued', 'waiting', 'running')"),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "provider",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "provider_budget",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("granted", sa.BigInteger(), nullable=False),
        sa.Column("last_ts", sa.Float(precision=53), nullable=False),
        sa.Column("blocked_until", sa.Float(precision=53), nullable=False),
        sa.Column("blocked_why", sa.Text(), nullable=True),
        sa.Column("holds", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "provider_budget_use",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts", sa.Float(precision=53), nullable=False),
        sa.Column("grant_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", "number"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_provider_budget_use_grant", "provider_budget_use", ["grant_id"], unique=False)
    op.create_table(
        "worker",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("broker", sa.Text(), nullable=False),
        sa.Column("queues", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("concurrency", sa.SmallInteger(), nullable=False),
        sa.Column("started_at", sa.Float(precision=53), nullable=False),
        sa.Column("heartbeat_at", sa.Float(precision=53), nullable=False),
        sa.Column("answered_at", sa.Float(precision=53), nullable=True),
        sa.Column("stopped_at", sa.Float(precision=53), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "asset_alias",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("asset_id", sa.Integer(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("valid_from", sa.BigInteger(), nullable=True),
        sa.Column("valid_to", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["asset_id"], ["asset.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_asset_alias_lookup", "asset_alias", ["provider", "symbol"], unique=False)
    op.create_table(
        "bar_coverage",
        sa.Column("asset_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("interval", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("start_ts", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("end_ts", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["asset_id"],
            ["asset.id"],
        ),
        sa.PrimaryKeyConstraint("asset_id", "interval", "start_ts"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "bar_gap",
        sa.Column("asset_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("interval", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("ts", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("times", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["asset_id"],
            ["asset.id"],
        ),
        sa.PrimaryKeyConstraint("asset_id", "interval", "ts"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "corporate_action",
        sa.Column("asset_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ts", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.Column("provider_id", sa.Integer(), nullable=False),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["asset_id"],
            ["asset.id"],
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["provider.id"],
        ),
        sa.PrimaryKeyConstraint("asset_id", "ts", "kind"),
        sqlite_with_rowid=False,
    )
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
        *price_bar_keys(),
        sa.PrimaryKeyConstraint("asset_id", "interval", "ts"),
        sqlite_with_rowid=False,
    )
    cases = " ".join(f"WHEN {code} THEN '{name}'" for code, name in INTERVALS.items())
    op.execute(VIEW.format(intervals=cases, **INSTANTS[op.get_bind().dialect.name]))
