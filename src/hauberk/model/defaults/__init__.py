"""What the API fills in where the user left a field out, by kind, in place."""
