"""Find the places of a map that look like the query."""
