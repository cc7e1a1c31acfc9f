"""`AuditResult` and what follows from it: tables, findings, thumbnails, stability."""
