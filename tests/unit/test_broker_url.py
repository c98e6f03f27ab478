"""Addresses of brokers: what is taken, what is refused and how, and which two are one broker."""

from __future__ import annotations

import pytest

from marketjobs import config
from marketjobs.errors import ConfigError
from marketjobs.services.brokers import broker_kind, broker_label


def with_url(monkeypatch: pytest.MonkeyPatch, url: str) -> config.Settings:
    monkeypatch.setenv("MARKETJOBS_BROKER__URL", url)
    return config.load()


@pytest.mark.parametrize(
    ("url", "label", "kind"),
    [
        ("redis://localhost", "redis://localhost:6379/0", "Redis"),
        ("redis://:secret@127.0.0.1:6379/0", "redis://localhost:6379/0", "Redis"),
        ("redis://LOCALHOST/", "redis://localhost:6379/0", "Redis"),
        ("redis://user:secret@r.example:7000/3", "redis://r.example:7000/3", "Redis"),
        ("rediss://r.example/0?ssl_cert_reqs=required", "rediss://r.example:6379/0", "Redis"),
        ("rediss://r.example", "rediss://r.example:6379/0", "Redis"),
        ("redis://[::1]:6379", "redis://localhost:6379/0", "Redis"),
        ("redis://[fe80::1]:6379/1", "redis://[fe80::1]:6379/1", "Redis"),
        ("redis+socket:///run/redis.sock", "redis+socket:///run/redis.sock", "Redis"),
        ("amqp://localhost", "amqp://localhost:5672//", "RabbitMQ"),
        ("amqp://guest:secret@127.0.0.1:5672//", "amqp://localhost:5672//", "RabbitMQ"),
        ("pyamqp://guest@localhost/%2F", "amqp://localhost:5672//", "RabbitMQ"),
        ("amqp://u:p%2Fw@mq.example/jobs", "amqp://mq.example:5672/jobs", "RabbitMQ"),
        ("amqps://u:secret@mq.example/jobs", "amqps://mq.example:5671/jobs", "RabbitMQ"),
        ("", "embedded", "embedded"),
    ],
)
def test_an_address_is_written_out_and_names_nobody(
    monkeypatch: pytest.MonkeyPatch, url: str, label: str, kind: str
) -> None:
    settings = with_url(monkeypatch, url)
    assert (broker_label(settings), broker_kind(settings)) == (label, kind)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("localhost:5672", "redis://HOST:PORT/DB"),
        ("rabbitmq://localhost", "amqp://USER"),
        ("amqp:/localhost", "amqp://USER"),
        ("amqp://", "host is missing"),
        ("amqp:///jobs", "host is missing"),
        ("amqp://user:secret@/jobs", "host is missing"),
        ("amqp://user:secret@ho st/jobs", "host is missing"),
        ("amqp://user:secret@host:port/jobs", "1 to 65535"),
        ("amqp://user:secret@host:0/jobs", "1 to 65535"),
        ("amqp://user:secret@host:70000/jobs", "1 to 65535"),
        ("amqp://user:se/cret@host/jobs", "1 to 65535"),
        ("amqp://user:se#cret@host/jobs", "1 to 65535"),
        ("amqp://user:secret@host/jobs#1", "%23"),
        ("amqp://user:secret@a;amqp://user:secret@b", "one address"),
        ("amqp://user:secret@host/jobs?heartbeat=5", "option 'heartbeat'"),
        ("rediss://user:secret@host/0?ssl_cert_reqs=none&max=5", "option 'max'"),
        ("redis://:secret@host/first", "number"),
        ("redis://:secret@host:x", "1 to 65535"),
    ],
)
def test_an_address_that_cannot_be_right_is_refused_in_a_line(
    monkeypatch: pytest.MonkeyPatch, url: str, word: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        with_url(monkeypatch, url)
    message = refused.value.message
    assert message.startswith("MARKETJOBS_BROKER__URL: broker.url = ")
    assert word in message
    assert "cret" not in message
    assert "\n" not in message
