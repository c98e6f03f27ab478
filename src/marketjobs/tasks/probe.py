"""Is the broker there, and may we use it?"""

from __future__ import annotations

import ssl
from typing import Any

from amqp.exceptions import AccessRefused, NotAllowed, PreconditionFailed
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from marketjobs.config import Settings
from marketjobs.errors import BrokerUnavailable, BrokerUnusable
from marketjobs.services.brokers import broker_label, virtual_host

PATIENCE_SECONDS = 2


def broker_check(settings: Settings) -> str:
    """Connect and say what was found.

    Raises:
        BrokerUnusable: it answers and refuses us, which a person must mend.
        BrokerUnavailable: it does not answer.
    """
    from marketjobs.tasks.celery import app

    label = broker_label(settings)
    if settings.is_embedded:
        folder = app.conf.broker_transport_options["data_folder_out"]
        return f"embedded queue in {folder}: this host only"
    connection = app.connection_for_write()
    options = dict(app.conf.broker_transport_options)
    if connection.transport.driver_type == "amqp":
        options |= {"read_timeout": PATIENCE_SECONDS, "write_timeout": PATIENCE_SECONDS}
    else:
        options |= {"socket_timeout": PATIENCE_SECONDS, "socket_connect_timeout": PATIENCE_SECONDS}
    connection = connection.clone(transport_options=options, connect_timeout=PATIENCE_SECONDS)
    try:
        version = _look(connection)
    except Exception as exc:  # each client raises errors of its own: all of them are told in one line
        raise _explained(settings, exc) from exc
    finally:
        connection.collect(PATIENCE_SECONDS)
    return f"{label} answers ({version})"


def _look(connection: Any) -> str:
    """What answers.  Raises whatever the clients raise."""
    connection.connect()  # one try: `ensure_connection` would try a wrong password again and again
    channel = connection.channel()
    if connection.transport.driver_type != "amqp":
        return f"Redis {channel.client.info('server')['redis_version']}"
    from marketjobs.tasks.celery import app

    for queue in app.amqp.queues.values():
        queue(channel).declare()
    about = connection.connection.server_properties
    return f"{about.get('product', 'AMQP')} {about.get('version', '')}".strip()


def _explained(settings: Settings, error: Exception) -> BrokerUnavailable:
    label = broker_label(settings)
    reason = _reason(error)
    if isinstance(error, ssl.SSLError):
        return BrokerUnusable(
            f"{label}: TLS failed: {reason}",
            hint="name the authority's file in [network] ca_bundle, or look at the port",
        )
    if isinstance(error, AccessRefused | AuthenticationError):
        if "no access to" in reason or "access to" in reason:
            return BrokerUnusable(f"{label}: {reason}", hint=_permissions(settings))
        return BrokerUnusable(f"{label} refused user and password", hint="look at [broker] url: marketjobs config show")
    if isinstance(error, NotAllowed):
        vhost = virtual_host(settings)
        if "not found" in reason:
            return BrokerUnusable(f"{label} has no vhost {vhost}", hint=f"rabbitmqctl add_vhost '{vhost}'")
        return BrokerUnusable(f"{label}: {reason}", hint=_permissions(settings))
    if isinstance(error, PreconditionFailed):
        return BrokerUnusable(
            f"{label} has a queue of another kind: {reason}",
            hint="delete that queue (wake-ups only: no job is lost), or use a vhost of its own",
        )
    if isinstance(error, ResponseError):
        return BrokerUnusable(f"{label}: {reason}", hint="look at [broker] url: marketjobs config show")
    return BrokerUnavailable(f"{label} does not answer: {reason}", hint="start it, or unset MARKETJOBS_BROKER__URL")


def _permissions(settings: Settings) -> str:
    return f"rabbitmqctl set_permissions -p '{virtual_host(settings)}' USER '.*' '.*' '.*'"


def _reason(error: Exception) -> str:
    """The error in a short line.  It names no password: clients print addresses without."""
    if isinstance(error, RedisError | OSError):
        return " ".join(str(error).split())[:160] or type(error).__name__
    text = str(getattr(error, "reply_text", None) or error)
    return " ".join(text.split())[:160] or type(error).__name__
