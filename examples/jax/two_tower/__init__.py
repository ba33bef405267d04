"""A two-tower recommender with row-sparse updates, trained in JAX on real text."""
