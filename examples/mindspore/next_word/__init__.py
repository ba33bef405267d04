"""A next-word model in MindSpore, by its deprecated loss and by the one import that replaces it."""
