"""Migrations of the store tables."""
