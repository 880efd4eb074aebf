"""What a scan of sets of labels gives: tables, figures, and what a person should know."""
