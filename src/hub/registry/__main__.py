"""`python -m hub.registry`: the same as `hub registry`."""

from __future__ import annotations

import sys

from hub.cli.app import main

if __name__ == "__main__":
    main(["registry", *sys.argv[1:]])
