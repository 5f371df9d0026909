"""What the one HTTP session promises, against real sockets."""
