"""What lies next to the database and outlives a run: in the home folder, or in PostgreSQL where no disk is shared."""
