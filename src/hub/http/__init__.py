"""What every HTTP surface of hub shares: the server, problem replies, guards, and the client."""
