"""The review console: pages for set-up, decisions, the plan, its finish, and history.

The console only calls the verbs, as the command line and the Dagster jobs do. It holds no rule of the sync.
"""
