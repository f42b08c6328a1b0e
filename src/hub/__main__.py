"""`python -m hub` is `hub`."""

from hub.cli.app import main

if __name__ == "__main__":
    main()
