"""The command line: opens, calls, saves and prints."""
