"""Certificate authority, SVIDs, SPIFFE Workload API and Envoy SDS."""
