"""`python -m edgebench` is the `edgebench` command."""

from edgebench.cli import main

if __name__ == "__main__":
    main()
