"""The operator commands of people and sessions."""
