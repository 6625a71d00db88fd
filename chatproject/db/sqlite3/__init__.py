"""Django's SQLite backend, but for how much one statement may hold (`base`)."""
