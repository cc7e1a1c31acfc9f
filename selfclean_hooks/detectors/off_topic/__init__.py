"""The default detector of off-topic samples."""
