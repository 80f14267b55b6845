"""The node agent: pods, their namespaces, their gates, their sockets."""
