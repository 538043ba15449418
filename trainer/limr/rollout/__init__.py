"""Sampling responses: vLLM engines as Ray actors, kept at the learners' weights by a versioned sync."""
