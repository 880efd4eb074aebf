"""What of a run is read again and again: its tables and features, mapped into memory."""
