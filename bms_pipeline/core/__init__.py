"""What every other package rests on: entities, vocabulary, errors, settings, HTTP, notifications, files."""
