"""hauberkd: puts the rings together, and does nothing else."""
