"""What is shown of an audit: one module a format, the page and figures."""
