"""Where the `marketjobs` command and `python -m marketjobs` begin.

Ctrl-C while the program is still being read ends it as the shell expects, not with a traceback.
"""

from __future__ import annotations

import signal


def main() -> None:
    hears = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where a shell ignores it for us
    if hears:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from marketjobs.cli import main as run

    if hears:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
