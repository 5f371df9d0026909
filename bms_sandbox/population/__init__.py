"""How a tenant is made up: who is in it, on which side, under which name, and what is true about them."""
