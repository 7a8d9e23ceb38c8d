"""Captioned videos in, noun-chunk-trajectory pairs out (section 3.2 of the paper)."""
