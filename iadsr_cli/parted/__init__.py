"""A log cleaned that does not fit into memory: in buckets of whole users, each judged by itself."""
