"""What is behind the other commands: status, export, gc, doctor; and what the terminal shows."""
