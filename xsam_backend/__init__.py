"""X-SAM behind every smart tool and every pre-label of Label Studio."""

__version__ = "0.2.0"
