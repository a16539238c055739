"""What a benchmark needs around its rows: checks, summaries, versions, promoted models."""
