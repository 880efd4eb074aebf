"""What methods read off frozen towers: features, zero-shot answers, a probe, neighbours."""
