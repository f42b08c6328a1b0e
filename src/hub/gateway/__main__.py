"""`python -m hub.gateway`: the same as `hub gateway`."""

from __future__ import annotations

import sys

from hub.cli.app import main

if __name__ == "__main__":
    main(["gateway", *sys.argv[1:]])
