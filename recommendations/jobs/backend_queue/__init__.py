"""The backend's queue (contract §3): what it looks like, how its messages are read, served, retried and put aside."""
