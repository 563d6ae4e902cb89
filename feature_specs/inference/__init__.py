"""Proposes a spec for a file that nobody has described: reading a sample, profiling its columns, choosing, writing it down with reasons."""
