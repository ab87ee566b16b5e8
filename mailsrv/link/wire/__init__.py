"""One open link, without I/O: frames, calls, long bodies with credits, the greeting."""
