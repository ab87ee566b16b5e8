"""kill -9 in the middle of everything; then start again and count."""
