"""`python -m marketjobs` is the `marketjobs` command."""

from marketjobs.cli import main

main()
