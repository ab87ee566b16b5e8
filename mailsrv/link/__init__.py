"""The store carried over a WebSocket: front ends anywhere, one primary that writes."""
