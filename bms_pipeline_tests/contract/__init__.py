"""What the vendor's document says, and that the sandbox and this project agree with it."""
