"""Testbed of several hosts on one machine, made of Linux network namespaces."""
