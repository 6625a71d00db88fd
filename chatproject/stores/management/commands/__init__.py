"""The operator commands of stores."""
