"""How much at once, and how long to wait: all limits of reading and writing documents, on one page."""

READ_AT_ONCE = 200
"""Documents to read between two commits: as many calls as an interruption costs."""
UNSETTLED_SECONDS = 2.0
"""``last_modified`` has whole seconds, and a service has several clocks. A document changed this shortly before its
reading may have been changed once more without another stamp."""
NEW_IN_ONE_CALL = 50
"""Documents in a creating POST. They are all looked for when its answer is lost."""
CHANGED_IN_ONE_CALL = 12
"""Documents in a batched PUT: they are read one after the other right before it, in about a second."""
FEW = 10
"""Fewer writes than this are read at once, which is quicker than waiting. They are read once more behind the next
writes, or by the next snapshot."""
MANY = 50
"""When this many wait for the first to be proven, it is read at once, and once more by the next snapshot: one in fifty.
Fewer wait until its reading is a settled one."""
LOST_AT_MOST = 3
"""After this many changes in a row without answer and effect, no other is sent for now."""
TEMPLATE_LOOKED_AT_SECONDS = 86400.0
"""One document of each template is read again after this time: adding or removing a label changes no document."""
LOOK_AGAIN_AFTER = (0.5, 1.0, 2.0, 4.0)
"""Seconds to wait for a write to show."""
