"""The `edgebench` command. Heavy libraries are imported by the commands that need them."""

from __future__ import annotations

import errno
import sys

from edgebench.errors import EdgebenchError

EXIT_USER_ERROR = 2
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main() -> None:
    """Run the command line; mistakes that people can put right are reported without a traceback."""
    from edgebench.cli.app import app

    try:
        app()
    except EdgebenchError as error:
        print(f"edgebench: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_status", EXIT_USER_ERROR))
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"edgebench: {place}{error.strerror}. Free some space and run the same command again.", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
