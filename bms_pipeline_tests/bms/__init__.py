"""How BMS is read: signing in, pages, the budget, whole sweeps."""
