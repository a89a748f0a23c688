"""A first answer made by hand."""

from __future__ import annotations

import numpy as np

from xsam_backend.training.clicks.first_answers import COMPONENTS, FirstAnswer


def answer(found: slice = slice(8, 16)) -> FirstAnswer:
    """A square object of 24 x 24 cells of 48 x 64, of which ``found`` columns (of the coarse cells) were found."""
    log_odds = np.full((24, 32), -3, np.float16)
    log_odds[6:18, found] = 3
    truth = np.zeros((48, 64), np.bool_)
    truth[12:36, 16:40] = True
    pixels = np.where(truth[..., None], 200, 40).astype(np.uint8).repeat(3, 2)
    features = np.zeros((COMPONENTS, 24, 32), np.float16)
    features[0] = np.where(truth[::2, ::2], 1, -1)
    return FirstAnswer(log_odds, features, pixels, truth, np.array([[0.3, 0.5]], np.float32))
