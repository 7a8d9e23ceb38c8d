"""Elysium: object-level perception in videos with a multimodal large language model."""

__version__ = "0.1.0"
