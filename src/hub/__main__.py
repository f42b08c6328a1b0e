"""`python -m hub` is `hub`."""

from hub_serving import main

if __name__ == "__main__":
    main()
