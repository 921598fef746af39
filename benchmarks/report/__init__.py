"""From records to pages: one tidy table, verdicts on it, tables, pictures, and the templates that say it."""
