"""Installed where packages are written, not where they are loaded."""
