"""The schema, declared once.  Migrations build it; a test compares the two.

Instants are epoch seconds (double) by the database's clock; stamps of bars are whole epoch seconds.  What
must be small is an integer: asset id, interval code, provider id.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, SmallInteger, Text, text
from sqlmodel import Field, SQLModel

JOINS = "join_key IS NOT NULL AND state IN ('queued', 'waiting', 'running')"
FINISHED = "finished_at IS NOT NULL"
TAIL = "substr(id, length(id) - 7)"
"""The last eight characters of an id, as people type them."""
TOP = "parent_id IS NULL"
CHILD = "parent_id IS NOT NULL"
ENDED = "parent_id IS NULL AND finished_at IS NOT NULL AND state <> 'dead'"
DEAD = "parent_id IS NULL AND state = 'dead'"
UNSENT = "published_at IS NULL AND state IN ('queued', 'waiting')"
PARENT = "waits_for = 'children'"


class Asset(SQLModel, table=True):
    """What a symbol stands for.  ``status``: active assets are kept fresh, inactive ones only kept."""

    __tablename__ = "asset"
    # A number that was purged is never given to another asset: a fetch under way may still hold it.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True)
    symbol: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    name: str | None = Field(default=None, sa_column=Column(Text))
    asset_class: str = Field(default="unknown", sa_column=Column(Text, nullable=False))
    currency: str | None = Field(default=None, sa_column=Column(Text))
    exchange: str | None = Field(default=None, sa_column=Column(Text))
    timezone: str | None = Field(default=None, sa_column=Column(Text))
    status: str = Field(default="active", sa_column=Column(Text, nullable=False))
    created_at: float = Field(sa_column=Column(Float(53), nullable=False))


class AssetAlias(SQLModel, table=True):
    """One vendor's symbol for an asset, while it was valid (stamps; ``None``: open)."""

    __tablename__ = "asset_alias"
    __table_args__ = (Index("ix_asset_alias_lookup", "provider", "symbol"),)

    id: int | None = Field(default=None, primary_key=True)
    asset_id: int = Field(sa_column=Column(ForeignKey("asset.id", ondelete="CASCADE"), nullable=False))
    provider: str = Field(sa_column=Column(Text, nullable=False))
    symbol: str = Field(sa_column=Column(Text, nullable=False))
    currency: str | None = Field(default=None, sa_column=Column(Text))
    valid_from: int | None = Field(default=None, sa_column=Column(BigInteger))
    valid_to: int | None = Field(default=None, sa_column=Column(BigInteger))


class AssetGroup(SQLModel, table=True):
    """A name for some assets, by which commands can mean all of them."""

    __tablename__ = "asset_group"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    created_at: float = Field(sa_column=Column(Float(53), nullable=False))


class AssetGroupMember(SQLModel, table=True):
    """An asset in a group; it may be in several."""

    __tablename__ = "asset_group_member"
    __table_args__ = (Index("ix_asset_group_member_asset", "asset_id"), {"sqlite_with_rowid": False})

    group_id: int = Field(
        sa_column=Column(ForeignKey("asset_group.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    )
    asset_id: int = Field(
        sa_column=Column(ForeignKey("asset.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    )


class ProviderName(SQLModel, table=True):
    """A small number for each provider that ever supplied a row."""

    __tablename__ = "provider"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(sa_column=Column(Text, nullable=False, unique=True))


class PriceBar(SQLModel, table=True):
    """One row per asset, interval and stamp: split-adjusted prices with ``adj_close`` beside them.

    Its asset and provider are checked once for many rows: `bar_supplier` has both, and is written first.
    """

    __tablename__ = "price_bar"
    __table_args__ = ({"sqlite_with_rowid": False},)

    asset_id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    interval: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    ts: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    open: float = Field(sa_column=Column(Float(53), nullable=False))
    high: float = Field(sa_column=Column(Float(53), nullable=False))
    low: float = Field(sa_column=Column(Float(53), nullable=False))
    close: float = Field(sa_column=Column(Float(53), nullable=False))
    adj_close: float | None = Field(sa_column=Column(Float(53)))
    volume: float | None = Field(sa_column=Column(Float(53)))
    provider_id: int = Field(sa_column=Column(Integer, nullable=False))
    provisional: int = Field(sa_column=Column(SmallInteger, nullable=False))
    fetched_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class BarSupplier(SQLModel, table=True):
    """Who supplied bars of an asset."""

    __tablename__ = "bar_supplier"
    __table_args__ = ({"sqlite_with_rowid": False},)

    asset_id: int = Field(sa_column=Column(ForeignKey("asset.id"), primary_key=True, autoincrement=False))
    provider_id: int = Field(sa_column=Column(ForeignKey("provider.id"), primary_key=True, autoincrement=False))


class BarCoverage(SQLModel, table=True):
    """Days that were asked for and answered, as ranges from ``start_ts`` to before ``end_ts``."""

    __tablename__ = "bar_coverage"
    __table_args__ = ({"sqlite_with_rowid": False},)

    asset_id: int = Field(sa_column=Column(ForeignKey("asset.id"), primary_key=True, autoincrement=False))
    interval: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    start_ts: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    end_ts: int = Field(sa_column=Column(BigInteger, nullable=False))


class BarGap(SQLModel, table=True):
    """A stamp whose row was rejected, the rule it broke, and how often it has been so."""

    __tablename__ = "bar_gap"
    __table_args__ = ({"sqlite_with_rowid": False},)

    asset_id: int = Field(sa_column=Column(ForeignKey("asset.id"), primary_key=True, autoincrement=False))
    interval: int = Field(sa_column=Column(SmallInteger, primary_key=True, autoincrement=False))
    ts: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    rule: str = Field(sa_column=Column(Text, nullable=False))
    times: int = Field(sa_column=Column(SmallInteger, nullable=False))


class CorporateAction(SQLModel, table=True):
    """A dividend (amount a share) or a split (new shares for one old), on its session's stamp."""

    __tablename__ = "corporate_action"
    __table_args__ = ({"sqlite_with_rowid": False},)

    asset_id: int = Field(sa_column=Column(ForeignKey("asset.id"), primary_key=True, autoincrement=False))
    ts: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    kind: str = Field(sa_column=Column(Text, primary_key=True))
    value: float = Field(sa_column=Column(Float(53), nullable=False))
    provider_id: int = Field(sa_column=Column(ForeignKey("provider.id"), nullable=False))
    fetched_at: int = Field(sa_column=Column(BigInteger, nullable=False))


class QuoteRow(SQLModel, table=True):
    """The latest price of an asset; `domain.quotes.Quote` says what each column means."""

    __tablename__ = "quote"

    asset_id: int = Field(
        sa_column=Column(ForeignKey("asset.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    )
    price: float = Field(sa_column=Column(Float(53), nullable=False))
    at: float = Field(sa_column=Column(Float(53), nullable=False))
    currency: str | None = Field(sa_column=Column(Text))
    change_percent: float | None = Field(sa_column=Column(Float(53)))
    previous_close: float | None = Field(sa_column=Column(Float(53)))
    day_open: float | None = Field(sa_column=Column(Float(53)))
    day_high: float | None = Field(sa_column=Column(Float(53)))
    day_low: float | None = Field(sa_column=Column(Float(53)))
    volume: float | None = Field(sa_column=Column(Float(53)))
    market_cap: float | None = Field(sa_column=Column(Float(53)))
    provider_id: int = Field(sa_column=Column(ForeignKey("provider.id"), nullable=False))
    fetched_at: float = Field(sa_column=Column(Float(53), nullable=False))


class AssetProfile(SQLModel, table=True):
    """What an issuer is; ``figures`` is JSON, by the names of `domain.profiles.FIGURES`."""

    __tablename__ = "asset_profile"

    asset_id: int = Field(
        sa_column=Column(ForeignKey("asset.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    )
    sector: str | None = Field(sa_column=Column(Text))
    industry: str | None = Field(sa_column=Column(Text))
    country: str | None = Field(sa_column=Column(Text))
    website: str | None = Field(sa_column=Column(Text))
    summary: str | None = Field(sa_column=Column(Text))
    employees: int | None = Field(sa_column=Column(BigInteger))
    figures: str = Field(sa_column=Column(Text, nullable=False))
    provider_id: int = Field(sa_column=Column(ForeignKey("provider.id"), nullable=False))
    fetched_at: float = Field(sa_column=Column(Float(53), nullable=False))


class NewsArticle(SQLModel, table=True):
    """A story.  ``identity``: the first of the names that make it the same story again (`news_name` has them all);
    ``published_at`` is the time of its first sight where it has no date, and ``is_dated`` says so.  ``feed_host``: who
    told it first where that was a feed; only the same source may edit it."""

    __tablename__ = "news_article"
    __table_args__ = (
        Index("ux_news_article_identity", "identity", unique=True),
        Index("ix_news_article_published", "published_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    identity: str = Field(sa_column=Column(Text, nullable=False))
    guid: str | None = Field(sa_column=Column(Text))
    url: str | None = Field(sa_column=Column(Text))
    title: str = Field(sa_column=Column(Text, nullable=False))
    summary: str | None = Field(sa_column=Column(Text))
    source: str | None = Field(sa_column=Column(Text))
    published_at: float = Field(sa_column=Column(Float(53), nullable=False))
    is_dated: int = Field(sa_column=Column(SmallInteger, nullable=False))
    provider_id: int = Field(sa_column=Column(ForeignKey("provider.id"), nullable=False))
    feed_host: str | None = Field(sa_column=Column(Text))
    first_seen_at: float = Field(sa_column=Column(Float(53), nullable=False))
    updated_at: float = Field(sa_column=Column(Float(53), nullable=False))


class NewsName(SQLModel, table=True):
    """What a story is known by: its guid, its address, else title and day (`domain.news.names`)."""

    __tablename__ = "news_name"
    __table_args__ = (Index("ix_news_name_article", "article_id"), {"sqlite_with_rowid": False})

    name: str = Field(sa_column=Column(Text, primary_key=True))
    article_id: int = Field(sa_column=Column(ForeignKey("news_article.id", ondelete="CASCADE"), nullable=False))


class NewsAsset(SQLModel, table=True):
    """A story is about an asset."""

    __tablename__ = "news_asset"
    __table_args__ = (Index("ix_news_asset_article", "article_id"), {"sqlite_with_rowid": False})

    asset_id: int = Field(
        sa_column=Column(ForeignKey("asset.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    )
    article_id: int = Field(
        sa_column=Column(ForeignKey("news_article.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
    )


class NewsFeed(SQLModel, table=True):
    """A feed that is read again and again, and what makes its next answer short (RFC 9110: ETag, Last-Modified)."""

    __tablename__ = "news_feed"

    address: str = Field(sa_column=Column(Text, primary_key=True))
    etag: str | None = Field(sa_column=Column(Text))
    last_modified: str | None = Field(sa_column=Column(Text))
    fetched_at: float = Field(sa_column=Column(Float(53), nullable=False))


class JobRow(SQLModel, table=True):
    """The ledger.  `domain.jobs.Job` says what each column means."""

    __tablename__ = "job"
    __table_args__ = (
        Index("ix_job_due", "state", "run_at"),
        Index("ix_job_submitted", "submitted_at"),
        Index("ix_job_state", "state", "submitted_at"),
        Index(
            "ix_job_finished",
            *("finished_at", "queue", "state"),
            sqlite_where=text(FINISHED),
            postgresql_where=text(FINISHED),
        ),
        Index("ix_job_top", "submitted_at", "id", sqlite_where=text(TOP), postgresql_where=text(TOP)),
        Index("ix_job_unsent", "priority", "run_at", sqlite_where=text(UNSENT), postgresql_where=text(UNSENT)),
        Index("ix_job_parents", "id", sqlite_where=text(PARENT), postgresql_where=text(PARENT)),
        Index("ix_job_parent", "parent_id", "state", sqlite_where=text(CHILD), postgresql_where=text(CHILD)),
        Index("ix_job_ended", "finished_at", sqlite_where=text(ENDED), postgresql_where=text(ENDED)),
        Index("ix_job_dead", "state", "finished_at", sqlite_where=text(DEAD), postgresql_where=text(DEAD)),
        Index("ix_job_tail", text(TAIL), sqlite_where=text(TOP), postgresql_where=text(TOP)),
        Index("ux_job_join", "join_key", unique=True, sqlite_where=text(JOINS), postgresql_where=text(JOINS)),
    )

    id: str = Field(sa_column=Column(Text, primary_key=True))
    task: str = Field(sa_column=Column(Text, nullable=False))
    queue: str = Field(sa_column=Column(Text, nullable=False))
    state: str = Field(sa_column=Column(Text, nullable=False))
    arguments: str = Field(sa_column=Column(Text, nullable=False))
    join_key: str | None = Field(default=None, sa_column=Column(Text))
    parent_id: str | None = Field(default=None, sa_column=Column(Text))
    priority: int = Field(default=5, sa_column=Column(SmallInteger, nullable=False))
    attempt: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))
    max_attempts: int = Field(default=3, sa_column=Column(SmallInteger, nullable=False))
    token: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    submitted_at: float = Field(sa_column=Column(Float(53), nullable=False))
    run_at: float = Field(sa_column=Column(Float(53), nullable=False))
    started_at: float | None = Field(default=None, sa_column=Column(Float(53)))
    finished_at: float | None = Field(default=None, sa_column=Column(Float(53)))
    lease_until: float | None = Field(default=None, sa_column=Column(Float(53)))
    claimed_at: float | None = Field(default=None, sa_column=Column(Float(53)))
    published_at: float | None = Field(default=None, sa_column=Column(Float(53)))
    owner: str | None = Field(default=None, sa_column=Column(Text))
    cancel_requested: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))
    progress: float = Field(default=0.0, sa_column=Column(Float(53), nullable=False))
    message: str | None = Field(default=None, sa_column=Column(Text))
    waits_for: str | None = Field(default=None, sa_column=Column(Text))
    outcomes: str | None = Field(default=None, sa_column=Column(Text))
    result: str | None = Field(default=None, sa_column=Column(Text))
    error_cause: str | None = Field(default=None, sa_column=Column(Text))
    error_message: str | None = Field(default=None, sa_column=Column(Text))


class WorkerRow(SQLModel, table=True):
    """A worker or scheduler.  ``heartbeat_at``: it lives; ``answered_at``: it answered through the broker;
    ``refused``: messages that are no job."""

    __tablename__ = "worker"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    host: str = Field(sa_column=Column(Text, nullable=False))
    pid: int = Field(sa_column=Column(BigInteger, nullable=False))
    version: str = Field(sa_column=Column(Text, nullable=False))
    broker: str = Field(sa_column=Column(Text, nullable=False))
    queues: str = Field(sa_column=Column(Text, nullable=False))
    pool: str = Field(sa_column=Column(Text, nullable=False))
    concurrency: int = Field(sa_column=Column(SmallInteger, nullable=False))
    started_at: float = Field(sa_column=Column(Float(53), nullable=False))
    heartbeat_at: float = Field(sa_column=Column(Float(53), nullable=False))
    answered_at: float | None = Field(default=None, sa_column=Column(Float(53)))
    stopped_at: float | None = Field(default=None, sa_column=Column(Float(53)))
    refused: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))


class Lease(SQLModel, table=True):
    """Who alone may do something (the reaper), until when."""

    __tablename__ = "lease"

    name: str = Field(sa_column=Column(Text, primary_key=True))
    owner: str = Field(sa_column=Column(Text, nullable=False))
    until: float = Field(sa_column=Column(Float(53), nullable=False))


class ProviderBudget(SQLModel, table=True):
    """A provider's key (the provider itself where it has none, and for what holds all of them): how many calls were
    ever granted, and until when none may leave.  A key is named by a digest."""

    __tablename__ = "provider_budget"

    key: str = Field(sa_column=Column(Text, primary_key=True))
    granted: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    last_ts: float = Field(default=0.0, sa_column=Column(Float(53), nullable=False))
    blocked_until: float = Field(default=0.0, sa_column=Column(Float(53), nullable=False))
    blocked_why: str | None = Field(default=None, sa_column=Column(Text))
    blocked_cause: str | None = Field(default=None, sa_column=Column(Text))
    holds: int = Field(default=0, sa_column=Column(SmallInteger, nullable=False))


class ProviderBudgetUse(SQLModel, table=True):
    """One granted call: the last of its numbers, how many they are, and the instant that it may leave."""

    __tablename__ = "provider_budget_use"
    __table_args__ = (Index("ix_provider_budget_use_ts", "key", "ts", "number"), {"sqlite_with_rowid": False})

    key: str = Field(sa_column=Column(Text, primary_key=True))
    number: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    ts: float = Field(sa_column=Column(Float(53), nullable=False))
    grant_id: str = Field(sa_column=Column(Text, nullable=False))
    weight: int = Field(default=1, sa_column=Column(BigInteger, nullable=False, server_default="1"))


class ProviderBreaker(SQLModel, table=True):
    """Failures of a provider since its last answer, and until when its circuit is open (0: closed); the ``token`` is of
    the one probe that a half-open circuit lets through until ``probe_until``."""

    __tablename__ = "provider_breaker"

    provider: str = Field(sa_column=Column(Text, primary_key=True))
    failures: int = Field(sa_column=Column(BigInteger, nullable=False))
    failed_at: float = Field(sa_column=Column(Float(53), nullable=False))
    opened: int = Field(sa_column=Column(BigInteger, nullable=False))
    open_until: float = Field(sa_column=Column(Float(53), nullable=False))
    probe_until: float = Field(sa_column=Column(Float(53), nullable=False))
    token: str | None = Field(default=None, sa_column=Column(Text))
    why: str = Field(sa_column=Column(Text, nullable=False))
