"""Connects a process to the database, Redis and mail, and handles their failures. No models, no domain words."""
