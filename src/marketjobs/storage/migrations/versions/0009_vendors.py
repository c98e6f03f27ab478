"""Quotes, profiles and news.

Revision: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    def asset() -> sa.Column[int]:
        return sa.Column("asset_id", sa.Integer(), sa.ForeignKey("asset.id", ondelete="CASCADE"), autoincrement=False)

    def number(name: str, *, nullable: bool = True) -> sa.Column[float]:
        return sa.Column(name, sa.Float(53), nullable=nullable)

    def supplied() -> list[sa.Column[object]]:
        return [
            sa.Column("provider_id", sa.Integer(), sa.ForeignKey("provider.id"), nullable=False),
            sa.Column("fetched_at", sa.Float(53), nullable=False),
        ]

    def words(*names: str) -> list[sa.Column[object]]:
        return [sa.Column(name, sa.Text(), nullable=True) for name in names]

    op.create_table(
        "quote",
        asset(),
        number("price", nullable=False),
        number("at", nullable=False),
        *words("currency"),
        *map(number, ("change_percent", "previous_close", "day_open", "day_high", "day_low", "volume", "market_cap")),
        *supplied(),
        sa.PrimaryKeyConstraint("asset_id"),
    )
    op.create_table(
        "asset_profile",
        asset(),
        *words("sector", "industry", "country", "website", "summary"),
        sa.Column("employees", sa.BigInteger(), nullable=True),
        sa.Column("figures", sa.Text(), nullable=False),
        *supplied(),
        sa.PrimaryKeyConstraint("asset_id"),
    )
    op.create_table(
        "news_article",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        *words("guid", "url"),
        sa.Column("title", sa.Text(), nullable=False),
        *words("summary", "source"),
        number("published_at", nullable=False),
        sa.Column("is_dated", sa.SmallInteger(), nullable=False),
        sa.Column("provider_id", sa.Integer(), sa.ForeignKey("provider.id"), nullable=False),
        *words("feed_host"),
        number("first_seen_at", nullable=False),
        number("updated_at", nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ux_news_article_identity", "news_article", ["identity"], unique=True)
    op.create_index("ix_news_article_published", "news_article", ["published_at"])
    op.create_table(
        "news_name",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("article_id", sa.Integer(), sa.ForeignKey("news_article.id", ondelete="CASCADE"), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_news_name_article", "news_name", ["article_id"])
    op.create_table(
        "news_asset",
        asset(),
        sa.Column(
            "article_id", sa.Integer(), sa.ForeignKey("news_article.id", ondelete="CASCADE"), autoincrement=False
        ),
        sa.PrimaryKeyConstraint("asset_id", "article_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_news_asset_article", "news_asset", ["article_id"])
    op.create_table(
        "news_feed",
        sa.Column("address", sa.Text(), nullable=False),
        *words("etag", "last_modified"),
        number("fetched_at", nullable=False),
        sa.PrimaryKeyConstraint("address"),
    )
