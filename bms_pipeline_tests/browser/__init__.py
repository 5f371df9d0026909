"""The review console in Debian's Chromium."""
