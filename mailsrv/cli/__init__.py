"""The operator's and the owner's commands."""
