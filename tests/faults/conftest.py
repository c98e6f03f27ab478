"""Fixtures of this folder; what they do stands in processes.py."""

from postgres import postgres_server
from processes import machine, redis_server, vendor

__all__ = ["machine", "postgres_server", "redis_server", "vendor"]
