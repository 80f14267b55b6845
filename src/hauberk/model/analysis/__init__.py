"""Semantic analysis: what is wrong between objects that are right by themselves."""
