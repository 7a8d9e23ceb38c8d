"""Where videos and pictures come from, one source per file."""
