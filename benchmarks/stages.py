"""What a fetch does, stage by stage, in a process without queue and ledger: for many_symbols.py.

A line of stdin names a stage and its parts, lists of symbols; the answer is the CPU seconds that it took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from marketjobs import config
from marketjobs.domain.bars import BarAnswer, BarQuery
from marketjobs.providers.yahoo import CHART_PATH, _data_layer
from marketjobs.providers.yahoo_chart import chart_params
from marketjobs.services import bars, loop
from marketjobs.services.bar_plan import plans
from marketjobs.services.bar_request import FetchRequest
from marketjobs.services.context import JobContext
from marketjobs.services.runtime import Runtime


class Stages:
    """Stages by name; what one of them fetched the next one stores."""

    def __init__(self) -> None:
        from curl_cffi import requests

        self._runtime = Runtime(config.load(), durable=False)
        self._provider = self._runtime.provider("yahoo")
        self._bare = _data_layer(requests.Session(impersonate="chrome"))
        self._threads = ThreadPoolExecutor(self._provider.connection.max_connections)
        self._answers: dict[str, BarAnswer] = {}

    def whole(self, symbols: list[str]) -> None:
        """Fetch, parse, check, store."""
        report = bars.run(JobContext(self._runtime), self._arguments(symbols))
        assert all(one["rows_new"] > 240 for one in report["symbols"]), report["symbols"][0]

    def fetch(self, symbols: list[str]) -> None:
        """And parse."""

        async def all_of_them() -> list[BarAnswer]:
            return await asyncio.gather(*map(self._provider.bars, self._queries(symbols)))

        self._answers |= {answer.query.symbol: answer for answer in loop.run(all_of_them())}

    def store(self, symbols: list[str]) -> None:
        """And check, what was fetched before."""

        async def remembered(query: BarQuery) -> BarAnswer:
            return self._answers.pop(query.symbol)

        ask: Any = self._provider
        ask.bars = remembered
        try:
            self.whole(symbols)
        finally:
            del ask.bars

    def bare(self, symbols: list[str]) -> None:
        """yfinance's own HTTP, the same URLs."""

        def get(query: BarQuery) -> None:
            url = f"{self._provider.connection.base_url}{CHART_PATH}{query.symbol}"
            assert self._bare.get(url, params=chart_params(query)).status_code == 200

        list(self._threads.map(get, self._queries(symbols)))

    def _arguments(self, symbols: list[str]) -> dict[str, Any]:
        return bars.prepare(self._runtime, {"symbols": symbols, "period": "1y"})

    def _queries(self, symbols: list[str]) -> list[BarQuery]:
        request = FetchRequest.of(self._arguments(symbols))
        with self._runtime.database.read() as tx:
            planned = plans(tx, request, self._provider, symbols)
        return [BarQuery(one.symbol, request.interval, wanted, one.prepost) for one in planned for wanted in one.ranges]


def main() -> None:
    stages = Stages()
    for line in sys.stdin:
        name, parts = json.loads(line)
        stage: Callable[[list[str]], None] = getattr(stages, name)
        began = time.process_time()
        for part in parts:
            stage(part)
        print(time.process_time() - began, flush=True)


if __name__ == "__main__":
    main()
