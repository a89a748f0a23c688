"""An evaluation as it is shown: on a screen, as JSON for machines, as one HTML file to look at."""
