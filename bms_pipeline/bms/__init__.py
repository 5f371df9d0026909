"""The Kaseya BMS REST v2 client and the sweeps that read whole lists. It knows no database and no target."""
