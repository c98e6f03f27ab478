"""Where the `marketjobs` command and `python -m marketjobs` begin and end.

Ctrl-C while the program is still being read ends it as the shell expects, not with a traceback.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading


def main() -> None:
    hears = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where a shell ignores it for us
    if hears:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    import orjson  # noqa: F401  (Ctrl-C in the middle of its own import is a segmentation fault: here it is none)

    from marketjobs.cli import main as run

    if hears:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    except SystemExit as leaving:
        if threading.active_count() == 1 and isinstance(leaving.code, int):
            _end(leaving.code)
        raise


def _end(code: int) -> None:
    """End as Python does, except that the interpreter is not taken apart first, which took a sixth of what a quick
    command cost."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
