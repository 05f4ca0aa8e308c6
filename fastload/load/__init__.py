"""Batches for training: the only place, beside synth, that knows torch."""
