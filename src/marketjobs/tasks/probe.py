"""Is the broker there?"""

from __future__ import annotations

from marketjobs.config import Settings
from marketjobs.errors import BrokerUnavailable
from marketjobs.services.workers import broker_label


def broker_check(settings: Settings) -> str:
    """Connect and say what was found.

    Raises:
        BrokerUnavailable: it does not answer, with the reason in one line.
    """
    from kombu.exceptions import KombuError

    from marketjobs.tasks.celery import app
    from marketjobs.tasks.publish import _redis_errors

    label = broker_label(settings)
    if settings.is_embedded:
        folder = app.conf.broker_transport_options["data_folder_out"]
        return f"embedded queue in {folder}: this host only"
    try:
        options = dict(app.conf.broker_transport_options) | {
            "socket_timeout": 2,
            "socket_connect_timeout": 2,
            "max_retries": 1,
        }
        with app.connection_for_write().clone(transport_options=options) as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
            connection.default_channel.client.ping()
    except (OSError, KombuError, RuntimeError, *_redis_errors()) as exc:
        reason = " ".join(str(exc).split())[:120]
        raise BrokerUnavailable(
            f"{label} does not answer: {reason}", hint="start it, or unset MARKETJOBS_BROKER__URL"
        ) from exc
    return f"{label} answers"
