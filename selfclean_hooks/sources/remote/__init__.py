"""Data that lies elsewhere or in archives: copied and unpacked once, then a folder or a file like any other."""
