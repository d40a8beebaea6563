"""How a log is cleaned that does not fit into memory: in buckets of whole users, on disk."""
