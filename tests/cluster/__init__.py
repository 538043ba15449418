"""Kubernetes for the tests: an API server by itself, or a whole node with KubeRay and S3 (docs/development.md)."""
