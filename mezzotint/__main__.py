"""`python -m mezzotint` is the `mezzotint` command."""

from mezzotint.cli import main

if __name__ == "__main__":
    main()
