"""The files: writing, publishing, opening and reading them. Knows NumPy, and no torch."""
