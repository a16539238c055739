"""The read side: tables become data frames."""
