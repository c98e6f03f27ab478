"""Settings: precedence, the names of the ecosystem, and one line for whatever can't be right."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from marketjobs import config
from marketjobs.config import Settings
from marketjobs.errors import ConfigError

SECRET = "hunter2-very-secret"
SHIPPED = Path(__file__).parents[2] / "config.toml"


def write(text: str, name: str = "config.toml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def refused() -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config.load()
    error = caught.value
    assert "\n" not in error.message
    assert SECRET not in error.message + (error.hint or "")
    return error


# -- precedence -------------------------------------------------------------------------------------------


def test_defaults_where_nothing_is_said() -> None:
    loaded = config.load()
    assert loaded.file is None
    assert (loaded.retry.max_attempts, loaded.retry.base_seconds, loaded.retry.cap_seconds) == (3, 2.0, 300.0)
    assert loaded.is_embedded
    assert loaded.database_file == loaded.home / "marketjobs.db"
    assert loaded.origin("worker.concurrency") == "default"


def test_environment_above_file_above_default(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[worker]\nconcurrency = 3\nlease_seconds = 60\n")
    monkeypatch.setenv("MARKETJOBS_WORKER__CONCURRENCY", "4")
    loaded = config.load()
    assert (loaded.worker.concurrency, loaded.origin("worker.concurrency")) == (4, "MARKETJOBS_WORKER__CONCURRENCY")
    assert (loaded.worker.lease_seconds, loaded.origin("worker.lease_seconds")) == (60, "config.toml")
    assert (loaded.worker.pool, loaded.origin("worker.pool")) == ("prefork", "default")


def test_the_command_line_names_the_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from marketjobs import cli

    write("[worker]\nconcurrency = 3\n")
    named = write("[worker]\nconcurrency = 7\n", "other.toml")
    monkeypatch.setenv("MARKETJOBS_CONFIG", "missing.toml")
    monkeypatch.setattr("sys.argv", ["marketjobs"])
    with pytest.raises(SystemExit) as ended:
        cli.main(["--config", str(named), "config", "show", "--json"])
    assert ended.value.code == 0
    shown = json.loads(capsys.readouterr().out)
    assert {one["key"]: one["value"] for one in shown["settings"]} == {"worker.concurrency": 7}
    assert shown["paths"]["config file"] == str(named.resolve())


def test_a_file_is_looked_for_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    user = config.user_config_file()
    user.parent.mkdir(parents=True)
    user.write_text("[worker]\nconcurrency = 1\n")
    assert (config.load().worker.concurrency, config.load().file) == (1, user)
    write("[worker]\nconcurrency = 2\n")
    assert config.load().worker.concurrency == 2
    monkeypatch.setenv("MARKETJOBS_CONFIG", str(write("[worker]\nconcurrency = 3\n", "named.toml")))
    assert config.load().worker.concurrency == 3


def test_settings_are_read_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    first = config.current()
    monkeypatch.setenv("MARKETJOBS_WORKER__CONCURRENCY", "4")
    assert config.current() is first
    config.current.cache_clear()
    assert config.current().worker.concurrency == 4


@pytest.mark.parametrize(
    ("given", "url", "origin"),
    [
        ({"REDIS_URL": "redis://c"}, "redis://c", "REDIS_URL"),
        ({"REDIS_URL": "redis://c", "CELERY_BROKER_URL": "redis://b"}, "redis://b", "CELERY_BROKER_URL"),
        ({"REDIS_URL": "redis://c", "CELERY_BROKER_URL": ""}, "redis://c", "REDIS_URL"),
        (
            {"REDIS_URL": "redis://c", "CELERY_BROKER_URL": "redis://b", "MARKETJOBS_BROKER__URL": "redis://a"},
            "redis://a",
            "MARKETJOBS_BROKER__URL",
        ),
        ({"REDIS_URL": "redis://c", "MARKETJOBS_BROKER__URL": ""}, "", "MARKETJOBS_BROKER__URL"),
    ],
)
def test_the_ecosystems_names_of_a_broker(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], url: str, origin: str
) -> None:
    write("[broker]\nurl = 'redis://from-the-file'\n")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    loaded = config.load()
    assert (loaded.broker.url, loaded.origin("broker.url")) == (url, origin)
    assert loaded.is_embedded is (url == "")


def test_the_ecosystems_name_of_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:///theirs.db")
    assert config.load().database_file == Path("theirs.db").absolute()
    monkeypatch.setenv("MARKETJOBS_DATABASE__URL", "sqlite:///ours.db")
    assert config.load().database_file == Path("ours.db").absolute()


@pytest.mark.parametrize(
    ("value", "eager"), [("1", True), ("true", True), ("Yes", True), ("0", False), ("", False), ("false", False)]
)
def test_celerys_name_for_running_inline(monkeypatch: pytest.MonkeyPatch, value: str, eager: bool) -> None:
    monkeypatch.setenv("CELERY_TASK_ALWAYS_EAGER", value)
    assert config.load().eager is eager


def test_a_result_backend_never_replaces_the_job_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://elsewhere")
    assert config.load().is_embedded


@pytest.mark.parametrize(
    ("theirs", "url"),
    [
        ("redis://elsewhere:1/2", "redis://elsewhere:1/2"),
        ("rediss://:pw@elsewhere/0?ssl_cert_reqs=CERT_NONE", "rediss://:pw@elsewhere/0?ssl_cert_reqs=CERT_NONE"),
        ("redis+socket:///run/redis.sock", "redis+socket:///run/redis.sock"),
        *((url, "") for url in ("rpc://", "db+sqlite:///results.db", "cache+memcached://localhost", "django-db", "")),
    ],
)
def test_a_result_backend_on_redis_is_where_prices_are_cached(
    monkeypatch: pytest.MonkeyPatch, theirs: str, url: str
) -> None:
    monkeypatch.setenv("CELERY_RESULT_BACKEND", theirs)
    assert config.load().cache.url == url
    monkeypatch.setenv("MARKETJOBS_CACHE__URL", "redis://ours")
    assert (config.load().cache.url, config.load().origin("cache.url")) == ("redis://ours", "MARKETJOBS_CACHE__URL")
    monkeypatch.setenv("MARKETJOBS_CACHE__URL", "")
    assert config.load().cache.url == ""


def test_a_cache_is_a_redis_and_its_password_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETJOBS_CACHE__URL", f"redis://:{SECRET}@localhost:6379/1")
    loaded = config.load()
    assert list(loaded.secrets()) == [SECRET]
    assert SECRET not in repr({one.key: one.value for one in config.entries(loaded)})
    monkeypatch.setenv("MARKETJOBS_CACHE__URL", f"amqp://me:{SECRET}@localhost")
    message = refused().message
    assert message.startswith("MARKETJOBS_CACHE__URL: cache.url = ")
    assert SECRET not in message


def test_lists_are_json_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETJOBS_PROVIDERS__YAHOO__RATE_LIMIT", '["1/s", "25/d"]')
    monkeypatch.setenv("MARKETJOBS_WORKER__QUEUES", '["news"]')
    loaded = config.load()
    assert [str(rate) for rate in loaded.providers.yahoo.rates] == ["1/s", "25/d"]
    assert loaded.worker.queues == ["news"]
    assert loaded.origin("providers.yahoo.rate_limit") == "MARKETJOBS_PROVIDERS__YAHOO__RATE_LIMIT"


def test_a_table_is_json_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETJOBS_WORKER", '{"concurrency": 9}')
    monkeypatch.setenv("MARKETJOBS_WORKER__POOL", "solo")
    assert (config.load().worker.concurrency, config.load().worker.pool) == (9, "solo")


def test_one_key_in_the_environment_leaves_its_neighbours_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[providers.yahoo]\ntimeout_seconds = 3\nmax_connections = 2\n")
    monkeypatch.setenv("MARKETJOBS_PROVIDERS__YAHOO__MAX_CONNECTIONS", "5")
    yahoo = config.load().providers.yahoo
    assert (yahoo.timeout_seconds, yahoo.max_connections) == (3, 5)


def test_each_key_may_be_set_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = config.load()
    for one in config.entries(loaded):
        value = one.default if isinstance(one.default, str) else json.dumps(one.default)
        monkeypatch.setenv("MARKETJOBS_" + one.key.upper().replace(".", "__"), value)
    again = config.load()
    assert again == loaded
    for one in config.entries(again):
        assert one.origin == "MARKETJOBS_" + one.key.upper().replace(".", "__")


def test_the_data_folder_is_for_its_owner_only(home: Path) -> None:
    assert config.ensure_home(config.load()) == home
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_data_folder_that_cannot_be_made_is_named(home: Path) -> None:
    home.write_text("in the way")
    with pytest.raises(ConfigError, match="can't be created") as caught:
        config.ensure_home(config.load())
    assert str(home) in caught.value.message
    assert "MARKETJOBS_HOME" in (caught.value.hint or "")


# -- the shipped reference --------------------------------------------------------------------------------


@pytest.mark.skipif(not SHIPPED.exists(), reason="config.toml is not written yet")
def test_the_shipped_file_holds_every_key_with_its_default() -> None:
    flat = dict(_flat(tomllib.loads(SHIPPED.read_text(encoding="utf-8"))))
    for one in config.entries(config.load()):
        assert flat.pop(one.key) == one.default, one.key
    assert flat == {}


def _flat(table: dict[str, Any], prefix: str = "") -> Any:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# -- what can't be right ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[worker]\nconcurency = 3\n", "config.toml: unknown key worker.concurency"),
        ("[wroker]\nconcurrency = 3\n[worker]\n", "config.toml: unknown key wroker"),
        ("worker = 3\n", "config.toml: worker = 3: expected a table"),
        (
            "[worker]\nconcurrency = 'many'\n",
            "config.toml: worker.concurrency = 'many': expected an integer",
        ),
        ("[worker]\nconcurrency = 0\n", "config.toml: worker.concurrency = 0: expected greater than or equal to 1"),
        ("[worker]\npool = 'gevent'\n", "config.toml: worker.pool = 'gevent': expected 'prefork' or 'solo'"),
        (
            "[worker]\nqueues = ['nwes']\n",
            "config.toml: worker.queues = 'nwes': expected 'market_data', 'news', 'portfolio', 'analytics' or"
            " 'default'",
        ),
        (
            "[providers.yahoo]\nrate_limit = ['fast']\n",
            "config.toml: providers.yahoo.rate_limit = ['fast']: 'fast' is no rate: write calls per window, such as"
            " 2/s, 30/10s, 2000/h or 25/d; by the calendar 25/day, 10000/month or 25/day@America/New_York",
        ),
        (
            "[providers.yahoo]\nbase_url = 'yahoo'\n",
            "config.toml: providers.yahoo.base_url = 'yahoo': an http:// or https:// address",
        ),
        (
            "[broker]\nurl = 'kafka://localhost'\n",
            "config.toml: broker.url = 'kafka://localhost': leave it empty for the embedded queue, or"
            " redis://HOST:PORT/DB, amqp://USER:PASSWORD@HOST/VHOST (rediss://, amqps:// for TLS)",
        ),
        (
            "[database]\nurl = 'mysql://localhost/x'\n",
            "config.toml: database.url = 'mysql://localhost/x': leave it empty for SQLite in the data"
            " folder, or sqlite:///FILE, or postgresql://USER@HOST:PORT/DATABASE",
        ),
        (
            "[providers.nasdaq]\nenabled = true\n",
            "config.toml: unknown key providers.nasdaq: "
            "installed are alphavantage, binance, coingecko, coinmarketcap, recorded, rss, yahoo",
        ),
        (
            "[logging]\nlevel = 'loud'\n",
            "config.toml: logging.level = 'loud': expected 'debug', 'info', 'warning' or 'error'",
        ),
    ],
)
def test_a_wrong_file_is_named_with_key_and_expectation(text: str, message: str) -> None:
    write(text)
    assert refused().message == message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "MARKETJOBS_WORKER__CONCURRENCY",
            "many",
            "MARKETJOBS_WORKER__CONCURRENCY: worker.concurrency = 'many': expected an integer",
        ),
        ("MARKETJOBS_WORKER__CONCURENCY", "2", "MARKETJOBS_WORKER__CONCURENCY: unknown key worker.concurency"),
        (
            "REDIS_URL",
            "http://localhost",
            "REDIS_URL: broker.url = 'http://localhost': leave it empty for the embedded queue, or"
            " redis://HOST:PORT/DB, amqp://USER:PASSWORD@HOST/VHOST (rediss://, amqps:// for TLS)",
        ),
        (
            "DATABASE_URL",
            "postgres://localhost",
            "DATABASE_URL: database.url = 'postgres://localhost': the database is missing:"
            " postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        ),
    ],
)
def test_a_wrong_variable_is_named_with_key_and_expectation(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    assert refused().message == message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MARKETJOBS_WORKER__QUEUES", "news"),
        ("MARKETJOBS_PROVIDERS__YAHOO__RATE_LIMIT", "2/s"),
        ("MARKETJOBS_PROVIDERS__YAHOO__API_KEYS", SECRET),
        ("MARKETJOBS_WORKER", "{"),
    ],
)
def test_a_variable_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    message = refused().message
    assert name in message
    assert "JSON" in message


def test_a_misspelt_section_in_a_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETJOBS_WROKER__CONCURRENCY", "2")
    assert refused().message == (
        "MARKETJOBS_WROKER__CONCURRENCY: unknown key wroker: sections are "
        "broker database cache worker retry universe providers chains retention logging network"
    )


def test_a_wrong_table_in_a_variable_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETJOBS_WORKER", '{"concurrency": 0}')
    assert refused().message.startswith("MARKETJOBS_WORKER: worker.concurrency = 0: ")


@pytest.mark.parametrize("text", ["[worker", "[worker]\nconcurrency =\n", "concurrency: 3\n", "[worker]\n[worker]\n"])
def test_broken_toml_is_named_with_its_place(text: str) -> None:
    write(text)
    message = refused().message
    assert re.match(r"config\.toml: is no valid TOML: .*\(at (line \d+|end of document)", message), message


def test_a_file_that_is_no_text_is_refused() -> None:
    Path("config.toml").write_bytes(b"\xff\xfe\0")
    assert refused().message.startswith("config.toml: is no valid TOML: ")


@pytest.mark.parametrize(("path", "why"), [("missing.toml", "No such file"), (".", "Is a directory")])
def test_a_named_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, path: str, why: str) -> None:
    monkeypatch.setenv("MARKETJOBS_CONFIG", path)
    assert refused().message.startswith(f"{path}: can't be read: {why}")


def test_another_programs_file_met_by_chance_says_how_to_pass_another() -> None:
    write("[tool.other]\nx = 1\n")
    error = refused()
    assert error.message == "./config.toml has no section of marketjobs (it looks like another program's)"
    assert "--config" in (error.hint or "")


def test_a_named_file_of_another_program_is_checked_like_any(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[other]\nx = 1\n")
    monkeypatch.setenv("MARKETJOBS_CONFIG", "config.toml")
    assert refused().message == "config.toml: unknown key other"


def test_an_empty_file_is_fine() -> None:
    write("# nothing yet\n")
    assert config.load().worker.concurrency == 2


# -- secrets ----------------------------------------------------------------------------------------------


def test_secrets_are_known_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    write(f"[providers.yahoo]\napi_keys = ['{SECRET}-1', '{SECRET}-2']\n[network]\nproxy = 'http://me:{SECRET}-3@p'\n")
    monkeypatch.setenv("CELERY_BROKER_URL", f"redis://:{SECRET}-4@localhost:6379/0")
    loaded = config.load()
    assert set(loaded.secrets()) == {f"{SECRET}-{number}" for number in (1, 2, 3, 4)}
    shown = {one.key: one.value for one in config.entries(loaded)}
    assert SECRET not in repr(shown)
    assert shown["providers.yahoo.api_keys"] == ["********", "********"]
    assert shown["network.proxy"] == "http://me:********@p"
    assert shown["broker.url"] == "redis://:********@localhost:6379/0"
    assert SECRET not in repr(loaded.providers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MARKETJOBS_BROKER__URL", f"kafka://me:{SECRET}@host/"),
        ("DATABASE_URL", f"postgres://me:{SECRET}@host"),
        ("DATABASE_URL", f"mysql://me:{SECRET}@host/db"),
        ("MARKETJOBS_PROVIDERS__YAHOO__BASE_URL", f"ftp://me:{SECRET}@host"),
        ("MARKETJOBS_PROVIDERS__YAHOO__API_KEYS", f'{{"key": "{SECRET}"}}'),
        ("MARKETJOBS_PROVIDERS__YAHOO__API_KEYS", f'[["{SECRET}"]]'),
        ("MARKETJOBS_PROVIDERS__YAHOO__API_KEYS", f'["{SECRET}'),
        ("MARKETJOBS_PROVIDERS__YAHOO__API_KEY", SECRET),
        ("MARKETJOBS_PROVIDERS", f'{{"yahoo": {{"api_keys": "{SECRET}"}}}}'),
        ("MARKETJOBS_PROVIDERS__NASDAQ__API_KEYS", f'["{SECRET}"]'),
    ],
)
def test_what_is_refused_never_shows_a_secret(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    refused()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MARKETJOBS_BROKER__URL", f"amqp:me:{SECRET}@host"),
        ("MARKETJOBS_PROVIDERS", f'{{"yahoo": ["{SECRET}"]}}'),
        ("MARKETJOBS_PROVIDERS__YAHOO", f'["{SECRET}"]'),
    ],
)
def test_what_is_refused_for_its_shape_never_shows_a_secret(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    refused()


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("allow_hosts", ["10.0.0.0/99"], "expected hosts, addresses or networks"),
        ("allow_hosts", ["*"], "expected hosts, addresses or networks"),
        ("allow_hosts", ["nas.local", "*.local"], "expected hosts, addresses or networks"),
        ("allow_hosts", ["http://nas.local/"], "expected hosts, addresses or networks"),
        ("allow_hosts", ["nas.local:8080"], "expected hosts, addresses or networks"),
        ("allow_hosts", ["192.168.1.256"], "expected hosts, addresses or networks"),
        ("allow_hosts", [""], "expected hosts, addresses or networks"),
        ("feeds", ["file:///etc/passwd"], "expected http:// or https:// addresses"),
        ("feeds", ["https://feed.example/x", "feed.example/x"], "expected http:// or https:// addresses"),
        ("feeds", ["https://feed.example/a b"], "expected http:// or https:// addresses"),
        *(
            ("api_keys", [f"{SECRET}-1", key], "a key is empty, or holds a blank, a line end")
            for key in (f"{SECRET}\n", f" {SECRET}", "two words", "", "schlüssel", "a\x00b")
        ),
    ],
)
def test_what_no_feed_host_or_key_is(monkeypatch: pytest.MonkeyPatch, key: str, value: list[str], why: str) -> None:
    name = f"MARKETJOBS_PROVIDERS__RSS__{key.upper()}"
    monkeypatch.setenv(name, json.dumps(value))
    error = refused()
    assert error.message.startswith(f"{name}: providers.rss.{key} = ")
    assert why in error.message


def test_feeds_hosts_and_keys_that_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "allow_hosts": [
            "nas.local",
            "localhost",
            "my_host",
            "192.168.1.5",
            "10.0.0.0/8",
            "10.1.2.3/8",
            "::1",
            "[fd00::1]",
        ],
        "feeds": ["https://feed.example/x?y=%20", "HTTP://127.0.0.1:8080/feed", "https://h/@somebody"],
        "api_keys": ["aB3-_=+/.", "k"],
    }
    for key, value in given.items():
        monkeypatch.setenv(f"MARKETJOBS_PROVIDERS__RSS__{key.upper()}", json.dumps(value))
    found = config.load().providers.rss
    assert (found.allow_hosts, found.feeds) == (given["allow_hosts"], given["feeds"])
    assert [key.reveal() for key in found.api_keys] == given["api_keys"]


def test_an_address_with_an_open_bracket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://[localhost/")
    with pytest.raises(ConfigError, match=r"REDIS_URL: broker\.url"):
        list(config.load().secrets())


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "MARKETJOBS_PROVIDERS__YAHOO__BASE_URL"])
def test_a_password_of_an_address_in_force_is_a_secret(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, f"http://me:{SECRET}@proxy:3128")
    assert SECRET in set(config.load().secrets())


# -- the database's file ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///jobs.db", "jobs.db"),
        ("sqlite:///data/jobs.db", "data/jobs.db"),
        ("sqlite:///./jobs.db", "jobs.db"),
        ("sqlite:////var/lib/jobs.db", "/var/lib/jobs.db"),
        ("sqlite:////var/lib/my%20jobs.db", "/var/lib/my%20jobs.db"),
    ],
)
def test_a_database_url_names_a_file(monkeypatch: pytest.MonkeyPatch, url: str, path: str) -> None:
    monkeypatch.setenv("MARKETJOBS_DATABASE__URL", url)
    assert config.load().database_file == Path(path).absolute()


@pytest.mark.parametrize("url", ["sqlite:jobs.db", "sqlite://", "sqlite:///", "sqlite://jobs.db", "sqlite:///:memory:"])
def test_a_database_url_without_a_file_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("MARKETJOBS_DATABASE__URL", url)
    assert refused().message.startswith("MARKETJOBS_DATABASE__URL: database.url")


def test_settings_cannot_be_changed() -> None:
    loaded = config.load()
    for section in (loaded, loaded.worker, loaded.providers, loaded.providers.yahoo):
        with pytest.raises(AttributeError, match="frozen"):
            section.enabled = False  # type: ignore[attr-defined, union-attr]


def test_a_plug_in_without_a_section_has_the_defaults() -> None:
    section = Settings().providers.of("kraken")
    assert isinstance(section, config.ProviderSettings)
    assert (section.enabled, section.rate_limit) == (True, ["1/s"])


def test_loading_leaves_the_environment_alone() -> None:
    before = dict(os.environ)
    config.load()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql://me:{SECRET}@x@host/db", "written %2F %23 %3F %40"),
        (f"postgresql://me:{SECRET}/@host/db", "written %2F %23 %3F %40"),
        (f"postgresql://me:{SECRET}#@host/db", "written %2F %23 %3F %40"),
        (f"postgresql://me:{SECRET}@host:54x2/db", "the port is no number"),
        (f"postgresql://me:{SECRET}@host", "the database is missing"),
    ],
)
def test_an_address_with_a_raw_sign_in_its_password_is_told_how(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert said in refused().message


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_server_is_named_in_any_usual_spelling(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://me:{SECRET}@host/db?sslmode=require")
    settings = config.load()
    assert settings.database_url == f"postgresql://me:{SECRET}@host/db?sslmode=require"
    assert settings.database_file is None
    assert SECRET not in settings.shown_database


def test_a_password_among_an_address_options_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://host/db?user=me&password={SECRET}&sslmode=require")
    settings = config.load()
    assert SECRET in set(settings.secrets())
    assert settings.shown_database == "postgresql://host/db?user=me&password=********&sslmode=require"


def test_passwords_and_tokens_of_feeds_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    feeds = [
        f"https://me:{SECRET}-1@host/feed",
        f"https://host/feed?id=3&access_token={SECRET}-2",
        "https://host/a?key=",
        "https://host/feed/@somebody",
        f"https://me:{SECRET}-3/x@host/feed",
        f"https://{SECRET}-4@host/feed",
    ]
    monkeypatch.setenv("MARKETJOBS_PROVIDERS__RSS__FEEDS", json.dumps(feeds))
    settings = config.load()
    assert {f"{SECRET}-1", f"{SECRET}-2", f"{SECRET}-4"} <= set(settings.secrets())
    [shown] = [one.value for one in config.entries(settings) if one.key == "providers.rss.feeds"]
    assert shown == [
        "https://me:********@host/feed",
        "https://host/feed?id=3&access_token=********",
        *feeds[2:4],
        "********",
        "https://********@host/feed",
    ]


# -- what values may look like ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("worker.concurrency", "4", 4),
        ("worker.concurrency", "4.0", 4),
        ("worker.concurrency", "' 4 '", 4),
        ("worker.lease_seconds", "5", 5.0),
        ("worker.lease_seconds", "'5.5'", 5.5),
        ("worker.acks_late", "true", True),
        ("worker.acks_late", "'Yes'", True),
        ("worker.acks_late", "'off'", False),
        ("worker.acks_late", "1", True),
    ],
)
def test_a_value_may_be_written_as_a_text(key: str, text: str, value: object) -> None:
    section, _, name = key.partition(".")
    write(f"[{section}]\n{name} = {text}\n")
    found = getattr(getattr(config.load(), section), name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("concurrency = 2.5", "worker.concurrency = 2.5: expected an integer"),
        ("concurrency = true", "worker.concurrency = True: expected an integer"),
        ("concurrency = inf", "worker.concurrency = inf: expected an integer"),
        ("concurrency = ''", "worker.concurrency = '': expected an integer"),
        ("concurrency = 257", "worker.concurrency = 257: expected less than or equal to 256"),
        ("lease_seconds = nan", "worker.lease_seconds = nan: expected a number"),
        ("lease_seconds = 'long'", "worker.lease_seconds = 'long': expected a number"),
        ("soft_time_limit = 0", "worker.soft_time_limit = 0: expected greater than 0"),
        ("acks_late = 2", "worker.acks_late = 2: expected true or false"),
        ("acks_late = 'perhaps'", "worker.acks_late = 'perhaps': expected true or false"),
        ("pool = 1", "worker.pool = 1: expected 'prefork' or 'solo'"),
        ("queues = 'news'", "worker.queues = 'news': expected a list"),
        ("queues = []", "worker.queues = []: expected at least one item"),
        ("self = 1", "unknown key worker.self"),
        ("extra = 1", "unknown key worker.extra"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(line: str, message: str) -> None:
    write(f"[worker]\n{line}\n")
    assert refused().message == f"config.toml: {message}"


def test_settings_show_no_value_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETJOBS_PROVIDERS__YAHOO__API_KEYS", f'["{SECRET}"]')
    monkeypatch.setenv("MARKETJOBS_BROKER__URL", f"redis://me:{SECRET}@host/0")
    loaded = config.load()
    key = loaded.providers.yahoo.api_keys[0]
    assert key.reveal() == SECRET
    for one in (loaded, loaded.broker, loaded.providers, loaded.providers.yahoo, key, loaded.providers.yahoo.api_keys):
        assert SECRET not in f"{one} {one!r}"


def test_two_settings_never_share_a_list() -> None:
    config.load().worker.queues.clear()
    assert config.load().worker.queues == list(config.QUEUES)


def test_the_section_of_an_installed_plug_in_is_checked_like_any(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    points = [metadata.EntryPoint(name, "x:Y", "marketjobs.providers") for name in ("yahoo", "recorded", "kraken")]
    monkeypatch.setattr(metadata, "entry_points", lambda **_: points)
    write(f"[providers.kraken]\nrate_limit = ['3/s']\napi_keys = ['{SECRET}']\n")
    loaded = config.load()
    section = loaded.providers.of("kraken")
    assert isinstance(section, config.ProviderSettings)
    assert (section.rate_limit, section.timeout_seconds) == (["3/s"], 15.0)
    assert SECRET in set(loaded.secrets())
    write("[providers.kraken]\nrate_limt = ['3/s']\n")
    assert refused().message == "config.toml: unknown key providers.kraken.rate_limt"
    write("[providers]\nkraken = 3\n")
    assert refused().message == "config.toml: providers.kraken = 3: expected a table"
