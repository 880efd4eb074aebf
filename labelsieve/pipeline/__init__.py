"""The order of the stages of a scan, and what it gives."""
