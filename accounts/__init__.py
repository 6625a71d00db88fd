"""People: users, passwords, sessions and presence status."""
