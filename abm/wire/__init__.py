"""Formats of Apple's device enrollment service; no Django."""
