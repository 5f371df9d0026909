"""From stored records to a plan: settings, dispositions, operations. Pure: reads and writes the warehouse, calls nobody."""
