"""The `edgebench` command. Heavy libraries are imported by the commands that need them."""

from __future__ import annotations

import sys

from edgebench.errors import EdgebenchError

EXIT_USER_ERROR = 2
EXIT_TRY_AGAIN = 75  # EX_TEMPFAIL: a checkpoint was saved, start the same command again


def main() -> None:
    """Run the command line; mistakes that people can put right are told without a traceback."""
    from edgebench.cli.app import app

    try:
        app()
    except EdgebenchError as error:
        print(f"edgebench: {error}", file=sys.stderr)
        sys.exit(EXIT_TRY_AGAIN if getattr(error, "try_again", False) else EXIT_USER_ERROR)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
