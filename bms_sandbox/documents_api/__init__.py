"""A stand-in for Passportal's Documents API v2; for tests, demos and measurements only.

``store`` keeps what Passportal holds, ``seed`` takes it from a sandbox tenant, ``wire`` says how it travels,
``service`` answers calls, and ``server`` serves them with a few more to play the person at the keyboard.
"""
