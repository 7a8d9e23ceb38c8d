"""Grounders, one per file; `elysium.curation.grounding.load_grounder` finds them by name."""
