"""Istio's API groups as typed objects."""
