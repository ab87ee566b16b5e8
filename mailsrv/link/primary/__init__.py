"""The primary's side: what a front end asks is done in the store."""
