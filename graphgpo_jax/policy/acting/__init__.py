"""Ways in which a policy acts in text worlds."""
