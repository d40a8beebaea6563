"""`python -m iadsr_cli` is the `iadsr` command."""

from iadsr_cli.cli.app import main

if __name__ == "__main__":
    main()
