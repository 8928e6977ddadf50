"""Pages a person opens: one self-contained file each, no network."""
