"""Is the broker there, and may we use it?"""

from __future__ import annotations

import shlex
import ssl
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from amqp.exceptions import AccessRefused, NotAllowed, PreconditionFailed
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from marketjobs.config import QUEUES, Settings
from marketjobs.errors import BrokerUnavailable, BrokerUnusable
from marketjobs.services.bounded import within
from marketjobs.services.brokers import broker_kind, broker_label, user_name, virtual_host
from marketjobs.tasks.direct import Broker, opened

T = TypeVar("T")
PATIENCE_SECONDS = 3.0
GLANCE_SECONDS = 0.6


def broker_check(settings: Settings) -> str:
    """Connect and say what was found.

    Raises:
        BrokerUnusable: it answers and refuses us, which a person must mend.
        BrokerUnavailable: it does not answer.
    """
    if settings.is_embedded:
        return f"embedded queue in {settings.home / 'queue' / 'messages'}: this host only"

    def look(broker: Broker) -> str:
        broker.check_queues()
        return f"{broker_label(settings)} answers ({broker.about()})"

    return _asked(settings, look, PATIENCE_SECONDS)


def messages(settings: Settings) -> dict[str, int]:
    """How many wake-ups lie in each queue of the broker.

    Raises:
        BrokerUnusable, BrokerUnavailable: as above.
    """
    if settings.is_embedded:
        folder = settings.home / "queue" / "messages"
        found = Counter(path.name.partition(".")[2].removesuffix(".msg") for path in folder.glob("[0-9]*.msg"))
        return {name: found[name] for name in QUEUES}
    return _asked(settings, lambda broker: {name: broker.messages(name) for name in QUEUES}, GLANCE_SECONDS)


def _asked(settings: Settings, ask: Callable[[Broker], T], seconds: float) -> T:
    def speak() -> T:
        with opened(settings, seconds) as broker:
            return ask(broker)

    try:
        return within(seconds, speak, "probe")
    except Exception as exc:  # each client raises errors of its own: all of them are told in one line
        raise _explained(settings, exc) from exc


def _explained(settings: Settings, error: Exception) -> BrokerUnavailable:
    label = broker_label(settings)
    reason = _reason(error)
    if isinstance(error, ssl.SSLError) or "SSL" in reason or "certificate" in reason:
        return BrokerUnusable(
            f"{label}: TLS failed: {reason}",
            hint="name the authority's file in [network] ca_bundle, or look at the port",
        )
    if isinstance(error, AccessRefused | AuthenticationError):
        if "no access to" in reason or "access to" in reason:
            return BrokerUnusable(f"{label}: {reason}", hint=_permissions(settings))
        is_guest = broker_kind(settings) == "RabbitMQ" and user_name(settings) == "guest"
        guest = "; RabbitMQ lets guest in from its own host only" if is_guest else ""
        return BrokerUnusable(
            f"{label} refused user and password", hint=f"look at [broker] url: marketjobs config show{guest}"
        )
    if isinstance(error, NotAllowed):
        vhost = virtual_host(settings)
        if "not found" in reason:
            return BrokerUnusable(
                f"{label} has no vhost {vhost}",
                hint=f"rabbitmqctl add_vhost {shlex.quote(vhost)} && {_permissions(settings)}",
            )
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
    vhost, user = shlex.quote(virtual_host(settings)), shlex.quote(user_name(settings))
    return f"rabbitmqctl set_permissions -p {vhost} {user} '.*' '.*' '.*'"


def _reason(error: Exception) -> str:
    """The error in a short line.  It names no password: clients print addresses without."""
    if isinstance(error, RedisError | OSError):
        return " ".join(str(error).split())[:160] or type(error).__name__
    text = str(getattr(error, "reply_text", None) or error)
    return " ".join(text.split())[:160] or type(error).__name__
