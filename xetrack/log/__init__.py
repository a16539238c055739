"""The log floor: events, their bytes, the files that hold them. Knows no table."""
