"""`python -m uem.clients.cli` is `uem`."""

from uem.clients.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
