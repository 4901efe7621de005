"""What the hub does, without HTTP: sessions, the command queue, environments, terminals, threads."""
