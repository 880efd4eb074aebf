"""report.html: what a run says, for people, in one file that needs no network."""
