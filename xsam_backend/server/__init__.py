"""The HTTP service: Label Studio's ML-backend protocol on Flask, served by gunicorn."""
