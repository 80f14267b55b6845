"""A real Envoy, its control plane and programs behind it, for tests."""
