"""The tables floor: rows derived from the log, disposable, rebuilt at will."""
