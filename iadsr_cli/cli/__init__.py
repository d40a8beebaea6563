"""The command line: opens, calls, saves and prints."""

from iadsr_cli.cli import ending as ending  # before all that registers what is to be done at the end
