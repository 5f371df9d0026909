"""Passportal through its Documents API: client, encoding, memory and target."""
