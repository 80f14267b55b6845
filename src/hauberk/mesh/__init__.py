"""Objects to an immutable snapshot to Envoy v3 resources, served over ADS."""
