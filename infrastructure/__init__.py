"""How a process reaches database, Redis and mail, and what it does while one is away: no models, no domain words."""
