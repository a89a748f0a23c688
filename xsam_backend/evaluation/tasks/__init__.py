"""What is measured: one module per task, each with its questions, its measures and its controls."""
