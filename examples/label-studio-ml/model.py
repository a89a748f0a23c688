"""The model that ``label-studio-ml`` serves from this folder; a subclass in here may change what it does."""

from xsam_backend.server.label_studio_ml import XSam

__all__ = ["XSam"]
