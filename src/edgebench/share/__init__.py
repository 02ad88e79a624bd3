"""Finished runs as archives that DVC keeps and others pull."""
