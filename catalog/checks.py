"""Checks that the neighbours' tables are what this service reads."""
