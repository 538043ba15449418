"""The real level: one node that runs Pods, in namespaces of its own, so that it cannot leave anything behind."""
