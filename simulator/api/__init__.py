"""Methods and sockets: who may call what, and how it is answered."""
