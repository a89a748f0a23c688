"""Further clicks, learned: first answers of a model, a simulated annotator, and the training of the refiner."""
