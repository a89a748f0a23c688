"""Measurements that anyone can run; results are kept beside the scripts, with their command."""
