"""Pictures of runs (extra [viz])."""
