"""Between the model and the server: whose turn it is, and what need not be computed again. No Flask."""
