"""How one vendor spells it: one file a vendor, found by name or entry point."""
