"""Reports: what people and scripts are shown, from their side."""
