"""Interaction logs: read any format, know which column plays which role, write rows back untouched."""
