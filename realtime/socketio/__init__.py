"""The second door: Socket.IO 5 over Engine.IO 4 at `/socket.io/`, for front ends that speak it (docs/protocol.md)."""
