"""Which of the processes that a launcher started side by side talks."""

import os
import time

_HEAD_START = 1.0  # seconds for the process that says why they fail, before the launcher ends all


def is_main() -> bool:
    """Whether this is the one process of the run that talks; launchers number processes in the environment."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def has_peers() -> bool:
    """Whether a launcher started several processes."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def fails_first() -> bool:
    """Whether this process, of several, is the one that says why they fail."""
    from ptft import compute

    is_first = compute.fails_first()
    if not is_first:
        time.sleep(_HEAD_START)
    return is_first
