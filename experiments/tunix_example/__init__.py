"""Tunix's agentic GRPO trainer with graph credit, on a world of six rooms."""
