"""Child processes: started inside a boundary, ended with it. Every child of the daemon starts here."""
