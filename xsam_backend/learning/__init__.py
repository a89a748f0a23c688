"""Learning from what annotators accept: collecting, samples, jobs, versions, the gate between them."""
