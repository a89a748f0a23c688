"""What won't work in a label config and why, and the config with the least changed so that it does."""
