"""What the service keeps: webhook events (inbox), the prediction log, projects. No torch, no Flask."""
