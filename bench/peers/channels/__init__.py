"""Peer (b): a chat as Channels' documentation teaches it, on Daphne with the Redis pub/sub layer and SQLite."""
