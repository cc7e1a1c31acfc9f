"""What a project keeps of its own: settings in pyproject.toml and a job in CI."""
