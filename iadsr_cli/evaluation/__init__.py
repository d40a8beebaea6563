"""Does it work: metrics and protocols."""
