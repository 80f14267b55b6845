"""Kubernetes' own API groups as typed objects."""
