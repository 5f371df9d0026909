"""The review console, from the page of whoever decides; real sockets, real processes."""
