"""Objects, their schemas, validation and analysis. No I/O."""
