"""Objects of our own API group, `hauberk.io`."""
