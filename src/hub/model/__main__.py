"""`python -m hub.model pkg.module:Class`: the same as `hub model pkg.module:Class`."""

from __future__ import annotations

import sys

from hub.cli.app import main

if __name__ == "__main__":
    main(["model", *sys.argv[1:]])
