"""Brokers over TLS: our authority's certificate is taken, anybody else's is refused in a line."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from marketjobs.errors import CacheUnavailable
from marketjobs.storage.quote_cache import QuoteCache
from processes import Machine, RedisServer, free_port, require_redis_server
from rabbit import RabbitServer, require_rabbitmq_server

pytestmark = pytest.mark.xdist_group("tls")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority (``ca.pem``) and a server's ``cert.pem`` and ``key.pem`` for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl is installed")
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority",
        "req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=localhost",
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile names",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def rabbit_url(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    require_rabbitmq_server()
    with closing(RabbitServer(tmp_path_factory.mktemp("rabbitmq"))) as server:
        server.configure(
            f"listeners.ssl.one = 127.0.0.1:{server.tls_port}",
            f"listeners.ssl.two = 127.0.0.2:{server.tls_port}",
            f"ssl_options.cacertfile = {certificates / 'ca.pem'}",
            f"ssl_options.certfile = {certificates / 'cert.pem'}",
            f"ssl_options.keyfile = {certificates / 'key.pem'}",
        )
        server.start()
        yield f"amqps://guest:guest@localhost:{server.tls_port}/%2F"


@pytest.fixture(scope="module")
def redis_url(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    require_redis_server()
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    port = free_port()
    files = [f"--tls-{name}-file={certificates / file}" for name, file in (("cert", "cert.pem"), ("key", "key.pem"))]
    server.start("--tls-port", str(port), "--tls-auth-clients", "no", *" ".join(files).replace("=", " ").split())
    yield f"rediss://localhost:{port}/0"
    server.kill()


@pytest.fixture(
    params=[
        pytest.param("redis_url", marks=pytest.mark.redis),
        pytest.param("rabbit_url", marks=pytest.mark.rabbitmq),
    ]
)
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.mark.parametrize("variable", ["MARKETJOBS_NETWORK__CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_worker_and_a_submit_over_tls(machine: Machine, certificates: Path, url: str, variable: str) -> None:
    machine.env |= {"MARKETJOBS_BROKER__URL": url, variable: str(certificates / "ca.pem")}
    job_id = machine.python("import json; from jobs_for_tests import add; print(json.dumps(add.delay(2, 3).id))")
    assert machine.job(job_id)["published_at"] is not None
    worker = machine.test_worker(1)
    machine.in_state(job_id, "succeeded")
    assert machine.run("status", "--json").ok().json["broker_answers"] is True
    assert {one["messages"] for one in machine.run("queues", "--json").ok().json["queues"]} == {0}
    assert worker.runs


@pytest.mark.parametrize("ca_bundle", ["", "another.pem"])
def test_a_certificate_of_nobody_we_know_is_refused(
    machine: Machine, certificates: Path, url: str, ca_bundle: str
) -> None:
    if ca_bundle:
        command = f"req -x509 -newkey rsa:2048 -nodes -keyout {ca_bundle}.key -out {ca_bundle} -days 2 -subj /CN=other"
        subprocess.run(["openssl", *command.split()], cwd=certificates, check=True, capture_output=True)
        machine.env["MARKETJOBS_NETWORK__CA_BUNDLE"] = str(certificates / ca_bundle)
    machine.env["MARKETJOBS_BROKER__URL"] = url
    assert "ca_bundle" in machine.run("worker").refused(6, "TLS failed", "certificate verify failed").err
    program = "import json; from jobs_for_tests import add; print(json.dumps(add.delay(2, 3).id))"
    assert machine.job(machine.python(program))["published_at"] is None


def test_another_hosts_certificate_is_refused(machine: Machine, certificates: Path, url: str) -> None:
    """The authority is known, the name is not the host's: 127.0.0.2 is on no certificate."""
    machine.env |= {
        "MARKETJOBS_BROKER__URL": url.replace("localhost", "127.0.0.2"),
        "MARKETJOBS_NETWORK__CA_BUNDLE": str(certificates / "ca.pem"),
    }
    machine.run("worker").refused(6, "TLS failed")


@pytest.mark.redis
def test_a_cache_over_tls_checks_who_answers(certificates: Path, redis_url: str) -> None:
    """Whatever Celery was told: its own addresses of TLS have to say something about certificates."""
    url = f"{redis_url}?ssl_cert_reqs=CERT_NONE"
    assert QuoteCache(url, 60, str(certificates / "ca.pem")).version(5).startswith("Redis ")
    with pytest.raises(CacheUnavailable, match=r"(?i)certificate"):
        QuoteCache(url, 60).version(5)
