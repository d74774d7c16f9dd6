"""tagjax."""
