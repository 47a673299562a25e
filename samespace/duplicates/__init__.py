"""Duplicates: found, grouped, planned, moved into quarantine, and brought back."""
