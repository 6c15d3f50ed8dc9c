"""A testbed of network namespaces on one machine."""
