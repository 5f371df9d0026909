"""The review console: the pages on which people set up, decide, look at the plan, finish it and see how it went.

A thin way to call the verbs, like the command line and the Dagster jobs: no rule of the sync lives here.
"""
