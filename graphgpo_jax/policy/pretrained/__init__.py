"""Pretrained language models, from their files to this project and back."""
