"""The write side: calls become events. Touches no table."""
