"""The Kubernetes Gateway API as typed objects."""
