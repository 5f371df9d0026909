"""Access control for the pages on this machine, and proof that a person launched a run.

``store`` keeps the key. ``door`` checks connections. ``gate`` puts the door in front of any ASGI application.
``vouching`` signs launches, so that a run can verify that they came through the gate.
"""
