"""Find the rows of a user-item interaction log that do not belong, and give the log back without them."""

__version__ = "0.1.0"
