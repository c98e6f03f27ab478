"""Fixtures of this folder; what they do stands in processes.py, pairs.py and report.py."""

from blackhole import black_hole
from faults.pairs import full, pair, pytest_collection_modifyitems, pytest_generate_tests
from faults.report import record
from postgres import postgres_server
from processes import machine, redis_server, vendor

__all__ = [
    "black_hole",
    "full",
    "machine",
    "pair",
    "postgres_server",
    "pytest_collection_modifyitems",
    "pytest_generate_tests",
    "record",
    "redis_server",
    "vendor",
]
