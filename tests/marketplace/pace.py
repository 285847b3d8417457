"""How fast tests give up."""

PATIENCE_S = 100.0
"""Seconds that an answer may take: as good as for ever, on however busy a machine."""
