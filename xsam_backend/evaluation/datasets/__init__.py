"""Readers of labelled pictures in the field's formats. Each yields records; ``opening`` is their front door."""
