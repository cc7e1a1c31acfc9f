"""What a release needs: its version, its notes, its recipe, and a budget for what it brings."""
