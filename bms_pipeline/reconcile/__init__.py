"""From stored records to a plan: settings, dispositions, operations. Reads and writes the warehouse, calls nobody."""
