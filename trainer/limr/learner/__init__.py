"""Training: actor, critic and frozen reference under DeepSpeed ZeRO, one rank a process."""
