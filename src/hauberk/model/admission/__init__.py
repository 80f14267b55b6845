"""What is wrong with an object beyond its schema, by kind.

A rule reads the typed object, and on update the stored one too, and yields what it finds.
"""
