"""Controllers that a cluster has of its own and one machine lacks."""
