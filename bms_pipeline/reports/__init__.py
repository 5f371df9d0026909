"""What people are shown: status, a record's story, the plan, and exports."""
