"""What eval measures on generated answers."""
