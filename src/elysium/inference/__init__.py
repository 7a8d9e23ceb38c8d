"""Frames and a question in, boxes or words out: the engine, clip chaining and drawing."""
