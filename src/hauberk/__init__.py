"""Hauberk: every call between two workloads carries a proof, and policy is decided on it."""

__version__ = "0.1.0"
