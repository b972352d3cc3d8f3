"""Transformer Lab: every part of the Transformer and GPT, one idea a file.

Import what you need from the file that bears its name, for example
`from transformer_lab.attention import MultiHeadAttention`. Nothing is imported here, so
that `python -m transformer_lab` also runs where torch is not installed yet.
"""

__version__ = "0.1.0"
