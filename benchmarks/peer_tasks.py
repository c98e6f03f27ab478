"""What people write today, for many_symbols.py: a Celery task a symbol, yfinance, and the ORM row by row."""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import Any

from celery import Celery, group
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from harness import loopback_session

app = Celery("peer", broker=os.environ.get("PEER_BROKER"), backend=os.environ.get("PEER_BROKER"))
app.conf.task_default_queue = "peer"
app.conf.worker_prefetch_multiplier = 1


class Base(DeclarativeBase):
    pass


class Price(Base):
    __tablename__ = "peer_price"

    symbol: Mapped[str] = mapped_column(primary_key=True)
    date: Mapped[datetime] = mapped_column(primary_key=True)
    open: Mapped[float]
    high: Mapped[float]
    low: Mapped[float]
    close: Mapped[float]
    volume: Mapped[float]


def engine() -> Any:
    return create_engine(os.environ["PEER_DATABASE"].replace("postgresql:", "postgresql+psycopg:"))


@app.task
def fetch(symbol: str) -> int:
    import yfinance

    yfinance.set_tz_cache_location(os.environ["PEER_HOME"])
    ticker = yfinance.Ticker(symbol, session=loopback_session(os.environ["PEER_VENDOR"]))
    frame = ticker.history(period="1y", auto_adjust=False)
    with Session(engine()) as session:
        for at, row in frame.iterrows():
            figures = {name: float(row[name.title()]) for name in ("open", "high", "low", "close", "volume")}
            session.merge(Price(symbol=symbol, date=at.to_pydatetime().replace(tzinfo=None), **figures))
            session.commit()
    return len(frame)


def run(symbols: list[str]) -> None:
    """All of them, to the end; prints the seconds that it took."""
    Base.metadata.create_all(engine())
    began = time.perf_counter()
    counts = group(fetch.s(symbol) for symbol in symbols)().get(timeout=600)
    print(time.perf_counter() - began)
    assert min(counts) > 240, counts
