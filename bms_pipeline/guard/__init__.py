"""Access control for the pages on this machine, and proof of a launch by a person.

``store`` keeps the key. ``door`` checks connections. ``gate`` puts the door in front of any ASGI application.
``vouching`` signs the launches that pass the gate, and a run checks the signature.
"""
