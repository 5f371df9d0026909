"""Tests of what every other package rests on."""
