"""Who may use the pages on this machine, and which launches count as a person's word.

``store`` keeps the key, ``door`` checks connections, ``gate`` puts the door in front of any ASGI application, and
``vouching`` signs launches so that a run can tell whether they came through the gate.
"""
