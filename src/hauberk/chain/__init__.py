"""The chain of trust as data: statements, verification and explanation. No I/O."""
