"""What every other package may rely on."""
