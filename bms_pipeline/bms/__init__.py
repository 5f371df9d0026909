"""The Kaseya BMS REST v2 client and the sweeps that read whole lists; knows no database and no target."""
