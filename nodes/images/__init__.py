"""Pictures and masks."""
