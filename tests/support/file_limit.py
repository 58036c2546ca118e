"""How many files a process may open; each connection is one."""

import sys
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit


def raise_file_limit(needed: int = 0) -> None:
    """Let this process, and those that it starts, open as many files as the machine allows.

    It exits with a sentence that says what to do if these are fewer than it needs.
    """
    _, most = getrlimit(RLIMIT_NOFILE)
    if most != RLIM_INFINITY and most < needed:
        sys.exit(
            f"This needs {needed} open files, and the machine allows {most}. Raise that with"
            f" `ulimit -Hn {needed}` as root, in limits.conf or with `--ulimit nofile={needed}`"
            " of the container; or ask for fewer connections."
        )
    setrlimit(RLIMIT_NOFILE, (most, most))
