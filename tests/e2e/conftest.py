"""Fixtures of this folder; what they do stands in processes.py."""

from processes import machine, redis_server, vendor

__all__ = ["machine", "redis_server", "vendor"]
