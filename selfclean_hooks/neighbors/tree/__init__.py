"""The single-linkage tree, and what is known of the edges that it may consist of."""
