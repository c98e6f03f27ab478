"""On which brokers and stores a fault is tried, and how large.

A test that asks for ``pair`` is handed a machine on each pair of a broker and a store: on all six with
``--all-faults``, else on a few, so that each broker and each store is met once.
``@pytest.mark.pairs("redis", "rabbitmq")`` keeps it to these brokers; ``@pytest.mark.pairs(few=("redis-postgresql",))``
names those that it is tried on without the flag, and ``@pytest.mark.whole`` keeps a test that takes long to the whole
run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.audit import witness
from processes import Machine, machine_of
from vendor import Vendor

BROKERS = ("embedded", "redis", "rabbitmq")
STORES = ("sqlite", "postgresql")
FEW = ("embedded-sqlite", "redis-postgresql", "rabbitmq-sqlite")
SERVERS = ("redis", "rabbitmq", "postgresql")
HERE = Path(__file__).parent
FULL_SECONDS = 1200


def pairs_of(test: pytest.Mark | None, all_faults: bool) -> list[str]:
    """The pairs that a test is tried on, as ``broker-store``."""
    brokers = (test and test.args) or BROKERS
    every = [f"{broker}-{store}" for broker, store in itertools.product(brokers, STORES)]
    if all_faults:
        return every
    few = test.kwargs.get("few", FEW) if test else FEW
    return [pair for pair in every if pair in few]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "pair" in metafunc.fixturenames:
        test = metafunc.definition.get_closest_marker("pairs")
        wanted = pairs_of(test, metafunc.config.getoption("all_faults"))
        metafunc.parametrize("pair", [_marked(pair) for pair in wanted], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Full numbers take longer than anything that merely hangs in a small run, and some faults are only in that."""
    if not config.getoption("all_faults"):
        left_out = [item for item in items if item.get_closest_marker("whole")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
        return
    for item in items:
        if item.path.parent == HERE and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(FULL_SECONDS))


def _marked(pair: str) -> object:
    return pytest.param(
        pair, id=pair, marks=[getattr(pytest.mark, name) for name in pair.split("-") if name in SERVERS]
    )


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Are the numbers of the whole run asked for (``--all-faults``), or smaller ones?  The code path is the same."""
    return bool(request.config.getoption("all_faults"))


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path, vendor: Vendor) -> Iterator[Machine]:
    """A machine on a broker and a store; nothing runs on it yet, and its store witnesses what is written (`audit`).

    Redis is a server of the test's own (``redis_server``, started), RabbitMQ a vhost on our own node
    (``rabbit_server``), PostgreSQL a database of the test's own: a test may kill the first two, the third is shared.
    """
    broker, store = request.param.split("-")
    variables = {}
    if store == "postgresql":
        variables["MARKETJOBS_DATABASE__URL"] = request.getfixturevalue("postgres_url")
    if broker == "redis":
        redis = request.getfixturevalue("redis_server")
        redis.start()
        variables["MARKETJOBS_BROKER__URL"] = redis.url
    if broker == "rabbitmq":
        variables["MARKETJOBS_BROKER__URL"] = request.getfixturevalue("rabbit_server").new_vhost()
    with machine_of(tmp_path / "machine", vendor, **variables) as made:
        witness(made)
        yield made
