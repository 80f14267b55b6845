"""The Kubernetes-style API: server, storage, client and informers."""
