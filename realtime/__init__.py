"""Sockets: the handshake, the frame protocol, the write batcher, the bus and the hub."""
