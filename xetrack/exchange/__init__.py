"""The exchange floor: events that come from, or go to, another store."""
