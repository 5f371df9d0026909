"""Strikes: SIGKILL, full and failing disks at any moment, then the same command again."""
