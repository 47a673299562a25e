"""Find and group duplicates, plan what to remove, move it into quarantine, and bring it back."""
